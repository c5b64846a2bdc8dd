"""Base classes of all tables: naming convention, the tenant first in each key, a version on each row."""

import re
import uuid
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, ClassVar

import uuid_utils
from sqlalchemy import (
    Constraint,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

# A row with any columns.
AnyRow = Row[*tuple[Any, ...]]

# The organization that owns the rows which all organizations share (muscles, the public exercises).
PLATFORM_ID = uuid.UUID("00000000-0000-7000-8000-000000000000")
# RFC 9562; ``uuid.UUID`` also accepts braces, a URN and no dashes.
_CANONICAL = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# The type of a key made by ``core.names``: sorted by bytes, whatever the collation of the database is.
KEY = Text(collation="C")

# Marks a column with personal data: the audit log encrypts its values with that person's key.
PERSONAL: dict[str, Any] = {"personal": True}

# Marks a column with a secret, such as a credential or its hash: no export contains it.
SECRET: dict[str, Any] = {"secret": True}


def new_id() -> uuid.UUID:
    """Return a UUID version 7: globally unique, and sorted by the time of its creation."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def read_id(text: str) -> uuid.UUID | None:
    """Parse a UUID in its canonical form, in upper or lower case; return None for any other text."""
    return uuid.UUID(text) if _CANONICAL.fullmatch(text) else None


def _own_columns(constraint: Constraint, _: Table) -> str:
    """Name a key by its columns without the tenant, which is part of every key."""
    names = [column.name for column in constraint.columns]  # type: ignore[attr-defined]
    return "_".join(name for name in names if name != "organization_id") or "organization_id"


class Base(DeclarativeBase):
    """The root of all tables."""

    metadata = MetaData(
        naming_convention={
            "own_columns": _own_columns,
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(own_columns)s",
            "ix": "ix_%(table_name)s_%(own_columns)s",
            "fk": "fk_%(table_name)s_%(own_columns)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: Integer,
        str: Text,
        bytes: None,
        uuid.UUID: Uuid(),
        date: Date,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[dict[str, Any]]: JSONB,
        list[str]: ARRAY(Text),
    }
    # The family that the table belongs to; each organization has one stamp per tag.
    __tag__: ClassVar[str]
    # Columns whose change lets a trigger write to tables of another tag, with that tag: it is stamped as well.
    __triggers__: ClassVar[Mapping[str, str]] = {}
    # Whether changes through entities are written to the audit log.
    __audited__: ClassVar[bool] = True


del Base.type_annotation_map[bytes]


class VersionedBase(Base):
    """A row with a version, which each change increments, and the times of its creation and its last change."""

    __abstract__ = True

    version: Mapped[int] = mapped_column(server_default="1", default=1, sort_order=90)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=91)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now(), sort_order=92)

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - declared attributes belong to the class
        """Use the version for optimistic locking: the second of two changes to one version fails."""
        return {"version_id_col": cls.version, "eager_defaults": True}


class TenantBase(VersionedBase):
    """A table whose rows each belong to one organization, and are invisible to all others."""

    __abstract__ = True

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, sort_order=-100)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id, sort_order=-98)


class MonthlyTenantBase(VersionedBase):
    """A tenant's table with monthly partitions, by the organization's local date."""

    __abstract__ = True

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, sort_order=-100)
    local_date: Mapped[date] = mapped_column(primary_key=True, sort_order=-99)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id, sort_order=-98)


class CreatedByClient:
    """A row whose id a client may choose; the fingerprint of its body distinguishes a retry from another row."""

    fingerprint: Mapped[bytes | None] = mapped_column(sort_order=80)


def tenant_unique(*columns: str, name: str | None = None) -> UniqueConstraint:
    """Return a key that is unique within each organization; NULLs are equal to each other."""
    return UniqueConstraint("organization_id", *columns, name=name, postgresql_nulls_not_distinct=True)


def tenant_foreign_key(column: str, table: str, *, ondelete: str | None = None) -> ForeignKeyConstraint:
    """Return a reference that cannot leave the organization."""
    return ForeignKeyConstraint(
        ["organization_id", column], [f"{table}.organization_id", f"{table}.id"], ondelete=ondelete
    )


def tenant_index(*columns: Any, name: str | None = None, **options: Any) -> Index:
    """Return an index that starts with the organization, because every frequent read filters by it."""
    return Index(name, "organization_id", *columns, **options)
