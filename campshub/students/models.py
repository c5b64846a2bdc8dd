"""Students and their guardians, groups, their trainers, and enrolments."""

import uuid
from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import (
    KEY,
    PERSONAL,
    CreatedByClient,
    TenantBase,
    tenant_foreign_key,
    tenant_index,
    tenant_unique,
)
from campshub.core.security.encrypted_columns import encrypted

STUDENT_STATUSES = ("lead", "active", "inactive", "alumni", "suspended")
GROUP_KINDS = ("class", "batch", "camp", "course")
GROUP_STATUSES = ("draft", "active", "archived")
ENROLMENT_STATUSES = ("pending", "active", "withdrawn", "completed")
CUSTOM_FIELD_TYPES = ("text", "number", "date", "boolean", "choice", "multiple_choice")
# Who sees a custom field besides the staff who see the whole organization.
AUDIENCES = ("trainers", "student")
ENROLLED_DAYS = "daterange(begins_on, CASE WHEN status = 'completed' THEN ends_on ELSE ends_on + 1 END)"


class Student(TenantBase, CreatedByClient):
    """A student of an organization, with or without a login (``user_id``)."""

    __tablename__ = "students"
    __tag__ = "students"
    __person__: ClassVar[str] = "id"
    __table_args__ = (
        tenant_unique("code", name="uq_students_code"),
        CheckConstraint(f"status IN {STUDENT_STATUSES}", name="status"),
        CheckConstraint("given_name <> '' OR family_name <> ''", name="named"),
        CheckConstraint("left_on IS NULL OR joined_on IS NULL OR left_on >= joined_on", name="left_after_joined"),
        # External ids and logins are unique; NULLs are distinct, so any number of students may have none.
        Index("uq_students_external_id", "organization_id", "external_id", unique=True),
        Index("uq_students_user_id", "organization_id", "user_id", unique=True),
        tenant_index("sort_name", "id"),
        tenant_index("status", "sort_name", "id"),
        tenant_index("joined_on"),
        tenant_index("phone"),
        tenant_index("email"),
        tenant_index("sort_name", "id", name="ix_students_deleted", postgresql_where=text("deleted_at IS NOT NULL")),
        Index(
            "ix_students_search",
            "organization_id",
            "search_text",
            postgresql_using="gin",
            postgresql_ops={"search_text": "gin_trgm_ops"},
        ),
        # A login is a member of the organization.
        ForeignKeyConstraint(["organization_id", "user_id"], ["memberships.organization_id", "memberships.user_id"]),
    )

    code: Mapped[str]
    external_id: Mapped[str | None]
    user_id: Mapped[uuid.UUID | None]
    given_name: Mapped[str] = mapped_column(info=PERSONAL)  # one of the two names may be empty
    family_name: Mapped[str] = mapped_column(info=PERSONAL)
    preferred_name: Mapped[str | None] = mapped_column(info=PERSONAL)
    sort_name: Mapped[str] = mapped_column(KEY, info=PERSONAL)  # the folded sort key, family name first
    search_text: Mapped[str] = mapped_column(KEY, info=PERSONAL)  # the search key: a blank before each folded word
    date_of_birth: Mapped[date | None] = mapped_column(info=PERSONAL)
    gender: Mapped[str | None] = mapped_column(info=PERSONAL)
    email: Mapped[str | None] = mapped_column(info=PERSONAL)
    phone: Mapped[str | None] = mapped_column(info=PERSONAL)
    address: Mapped[dict[str, Any] | None] = mapped_column(info=PERSONAL)
    emergency_contacts: Mapped[list[dict[str, Any]]] = mapped_column(info=PERSONAL)
    tags: Mapped[list[str]]
    # The values of custom fields by their keys; a field without a value has no key here.
    custom_fields: Mapped[dict[str, Any]] = mapped_column(info=PERSONAL, default=dict, server_default=text("'{}'"))
    medical_note: Mapped[bytes | None] = mapped_column(
        LargeBinary, info=PERSONAL | encrypted("students.medical_note:{organization_id}:{id}")
    )
    photo_id: Mapped[uuid.UUID | None]  # the name of its files in the storage; a new photo has a new id
    status: Mapped[str] = mapped_column(default="active", server_default="active")
    joined_on: Mapped[date | None]
    left_on: Mapped[date | None]
    deleted_at: Mapped[datetime | None]


class CustomField(TenantBase, CreatedByClient):
    """A field of students that the organization has defined; its key never changes, because values are stored by it."""

    __tablename__ = "custom_fields"
    __tag__ = "custom_fields"
    __table_args__ = (
        tenant_unique("key"),
        CheckConstraint(f"type IN {CUSTOM_FIELD_TYPES}", name="type"),
        CheckConstraint("(type IN ('choice', 'multiple_choice')) = (choices <> '{}')", name="choices"),
        tenant_index("position", "id"),
    )

    key: Mapped[str]
    label: Mapped[str]
    type: Mapped[str]
    is_required: Mapped[bool] = mapped_column(default=False, server_default="false")
    choices: Mapped[list[str]] = mapped_column(default=list, server_default=text("'{}'"))
    visible_to: Mapped[list[str]] = mapped_column(default=list, server_default=text("'{}'"))
    is_personal: Mapped[bool] = mapped_column(default=True, server_default="true")
    position: Mapped[int] = mapped_column(default=0, server_default="0")
    is_archived: Mapped[bool] = mapped_column(default=False, server_default="false")


class Guardian(TenantBase, CreatedByClient):
    """A person who is responsible for students, with or without a login (``user_id``)."""

    __tablename__ = "guardians"
    # Responses that show students show or depend on their guardians too, so both have one stamp.
    __tag__ = "students"
    __person__: ClassVar[str] = "id"
    __table_args__ = (
        # The same name with the same phone number or e-mail address is one person.
        Index(
            "uq_guardians_phone",
            *("organization_id", "sort_name", "phone_key"),
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(
            "uq_guardians_email",
            *("organization_id", "sort_name", "email_key"),
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        # NULLs are distinct, so any number of guardians may have no external id and no login.
        Index("uq_guardians_external_id", "organization_id", "external_id", unique=True),
        Index("uq_guardians_user_id", "organization_id", "user_id", unique=True),
        tenant_index("sort_name", "id"),
        tenant_index("phone_key", "sort_name", "id"),
        tenant_index("email_key", "sort_name", "id"),
        tenant_index("sort_name", "id", name="ix_guardians_deleted", postgresql_where=text("deleted_at IS NOT NULL")),
        Index(
            "ix_guardians_search",
            "organization_id",
            "search_text",
            postgresql_using="gin",
            postgresql_ops={"search_text": "gin_trgm_ops"},
        ),
        # A login is a member of the organization.
        ForeignKeyConstraint(["organization_id", "user_id"], ["memberships.organization_id", "memberships.user_id"]),
    )

    external_id: Mapped[str | None]
    user_id: Mapped[uuid.UUID | None]
    name: Mapped[str] = mapped_column(info=PERSONAL)
    sort_name: Mapped[str] = mapped_column(KEY, info=PERSONAL)  # the folded sort key
    search_text: Mapped[str] = mapped_column(KEY, info=PERSONAL)  # the search key: a blank before each folded word
    email: Mapped[str | None] = mapped_column(info=PERSONAL)
    email_key: Mapped[str | None] = mapped_column(KEY, info=PERSONAL)  # the normalized form for comparison
    phone: Mapped[str | None] = mapped_column(info=PERSONAL)
    phone_key: Mapped[str | None] = mapped_column(KEY, info=PERSONAL)  # its digits
    deleted_at: Mapped[datetime | None]


class StudentGuardian(TenantBase):
    """A guardian's link to a student; it belongs to the student's document, and so to the student's version."""

    __tablename__ = "student_guardians"
    __tag__ = "students"
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        tenant_unique("student_id", "guardian_id"),
        tenant_foreign_key("student_id", "students"),
        tenant_foreign_key("guardian_id", "guardians"),
        tenant_index("guardian_id", "student_id"),
        # One guardian is called first.
        Index(
            "uq_student_guardians_primary",
            *("organization_id", "student_id"),
            unique=True,
            postgresql_where=text("is_primary"),
        ),
    )

    student_id: Mapped[uuid.UUID]
    guardian_id: Mapped[uuid.UUID]
    position: Mapped[int]  # in the student's list, from 0
    relation: Mapped[str | None] = mapped_column(info=PERSONAL)
    is_primary: Mapped[bool]
    may_pick_up: Mapped[bool]
    receives_notifications: Mapped[bool]


class Group(TenantBase, CreatedByClient):
    """A class, batch, camp or course in which students enrol."""

    __tablename__ = "groups"
    __tag__ = "groups"
    __table_args__ = (
        tenant_unique("code", name="uq_groups_code"),
        CheckConstraint(f"kind IN {GROUP_KINDS}", name="kind"),
        CheckConstraint(f"status IN {GROUP_STATUSES}", name="status"),
        CheckConstraint("capacity IS NULL OR capacity > 0", name="capacity"),
        CheckConstraint("ends_on IS NULL OR begins_on IS NULL OR ends_on >= begins_on", name="ends_after_begin"),
        Index("uq_groups_external_id", "organization_id", "external_id", unique=True),
        tenant_index("sort_name", "id"),
        tenant_index("status", "sort_name", "id"),
        tenant_index("kind", "sort_name", "id"),
    )

    code: Mapped[str]
    external_id: Mapped[str | None]
    name: Mapped[str]
    sort_name: Mapped[str] = mapped_column(KEY)  # the folded sort key
    search_text: Mapped[str] = mapped_column(KEY)  # the search key: folded code and name
    kind: Mapped[str]
    status: Mapped[str] = mapped_column(default="active", server_default="active")
    capacity: Mapped[int | None]
    begins_on: Mapped[date | None]
    ends_on: Mapped[date | None]
    deleted_at: Mapped[datetime | None]


class GroupTrainer(TenantBase):
    """A trainer's assignment to a group: they see its students."""

    __tablename__ = "group_trainers"
    __tag__ = "groups"
    __table_args__ = (
        tenant_unique("group_id", "user_id"),
        tenant_foreign_key("group_id", "groups", ondelete="CASCADE"),
        # A trainer is a member of the organization.
        ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["memberships.organization_id", "memberships.user_id"],
            ondelete="CASCADE",
        ),
        tenant_index("user_id", "group_id"),
    )

    group_id: Mapped[uuid.UUID]
    user_id: Mapped[uuid.UUID]


class GroupSubstitute(TenantBase, CreatedByClient):
    """A user who may act as a trainer of a group from the first to the last date, in the organization's time zone."""

    __tablename__ = "group_substitutes"
    __tag__ = "groups"
    __table_args__ = (
        tenant_foreign_key("group_id", "groups"),
        # A substitute is a member of the organization.
        ForeignKeyConstraint(
            ["organization_id", "trainer_id"],
            ["memberships.organization_id", "memberships.user_id"],
            ondelete="CASCADE",
        ),
        CheckConstraint("last_date >= first_date", name="last_after_first"),
        tenant_index("trainer_id", "last_date", "group_id"),
        tenant_index("group_id", "first_date", "id"),
    )

    group_id: Mapped[uuid.UUID]
    trainer_id: Mapped[uuid.UUID]
    first_date: Mapped[date]
    last_date: Mapped[date]


class Enrolment(TenantBase, CreatedByClient):
    """A student's time in a group. Both dates are included; no end date means that it is open-ended.

    A withdrawn or completed enrolment has an end date. A withdrawn one that ends before it begins never began.
    """

    __tablename__ = "enrolments"
    __tag__ = "enrolments"
    __table_args__ = (
        tenant_foreign_key("student_id", "students"),
        tenant_foreign_key("group_id", "groups"),
        CheckConstraint(f"status IN {ENROLMENT_STATUSES}", name="status"),
        CheckConstraint("ends_on IS NULL OR ends_on >= begins_on OR status = 'withdrawn'", name="ends_after_begin"),
        CheckConstraint("ends_on IS NOT NULL OR status NOT IN ('withdrawn', 'completed')", name="left_with_end"),
        # A student may enrol again on the last day of a completed enrolment.
        ExcludeConstraint(
            ("organization_id", "="),
            ("student_id", "="),
            ("group_id", "="),
            (text(ENROLLED_DAYS), "&&"),
            where=text("status IN ('active', 'completed')"),
            using="gist",
            name="ex_enrolments_overlap",
        ),
        tenant_index("group_id", "begins_on", "student_id"),
        tenant_index("student_id", "begins_on"),
        tenant_index("begins_on", "id"),
        tenant_index("status", "begins_on", "id"),
        CheckConstraint("status = 'pending' OR NOT is_waiting", name="waits_pending"),
        tenant_index("group_id", "created_at", "id", name="ix_enrolments_waiting", postgresql_where=text("is_waiting")),
    )

    student_id: Mapped[uuid.UUID]
    group_id: Mapped[uuid.UUID]
    begins_on: Mapped[date]
    ends_on: Mapped[date | None]
    status: Mapped[str] = mapped_column(default="active", server_default="active")
    # Whether a pending enrolment is on the waiting list of a full group.
    is_waiting: Mapped[bool] = mapped_column(default=False, server_default="false")
