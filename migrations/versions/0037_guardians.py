"""Guardians, linked to students; the role guardian; whether guardians see training; photos of students.

The entries of the former column students.guardians become guardians and links: in one organization, the same name with
the same phone number or e-mail address is one person. Going back writes the links into the column again. The former
roles cannot stand for a guardian: where a membership or an invitation has this role, going back is refused.

Revision ID: 0037
Revises: 0036
"""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from campshub.core.db.models import new_id
from campshub.core.normalization import clean_email
from campshub.students import names
from migrations import ddl
from sqlalchemy.dialects import postgresql as pg

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

BATCH = 5_000
KEY = sa.Text(collation="C")
INSTANT = sa.DateTime(timezone=True)
ALIVE = "deleted_at IS NULL"
ROLES_BEFORE = "'superadmin', 'admin', 'trainer', 'nutritionist', 'client'"
ROLES_NOW = f"{ROLES_BEFORE}, 'guardian'"
# As students_with_words (0029): LIKE is not leak-proof, and under a policy it could not use its index.
WORDS = """
CREATE FUNCTION guardians_with_words(patterns text) RETURNS TABLE (guardian_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 200
SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT g.id FROM guardians g
   WHERE g.organization_id = NULLIF(current_setting('app.organization_id', true), '')::uuid
     AND g.search_text LIKE split_part(patterns, E'\\n', 1)
     AND g.search_text LIKE ALL (string_to_array(patterns, E'\\n'))
$$
"""
GUARDIANS = """
INSERT INTO guardians (organization_id, id, name, sort_name, search_text, phone, phone_key, email, email_key)
SELECT CAST(:owner AS uuid), g.* FROM json_to_recordset(CAST(:rows AS json)) AS g(id uuid, name text, sort_name text,
       search_text text, phone text, phone_key text, email text, email_key text)
"""
LINKS = """
INSERT INTO student_guardians (organization_id, id, student_id, guardian_id, position, relation, is_primary,
                               may_pick_up, receives_notifications)
SELECT CAST(:owner AS uuid), uuidv7(), l.student_id, l.guardian_id, l.position, l.relation, l.position = 0, false, true
  FROM json_to_recordset(CAST(:rows AS json)) AS l(student_id uuid, guardian_id uuid, position int, relation text)
"""
# jsonb_strip_nulls: the former entries had only the properties that were sent.
ENTRIES = """
UPDATE students s SET guardians = l.entries
  FROM (SELECT l.organization_id, l.student_id, jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', g.name,
               'relation', l.relation, 'phone', g.phone, 'email', g.email)) ORDER BY l.position, l.id) AS entries
          FROM student_guardians l JOIN guardians g ON g.organization_id = l.organization_id AND g.id = l.guardian_id
         WHERE g.deleted_at IS NULL GROUP BY 1, 2) AS l
 WHERE s.organization_id = l.organization_id AND s.id = l.student_id
"""


def upgrade() -> None:
    guardians()
    links()
    for table in ("guardians", "student_guardians"):
        ddl.tenant_table(table)
    op.execute("SET ROLE campshub_backfill")  # policies bind the owner
    move_entries()
    op.execute("SET ROLE campshub_owner")
    op.drop_column("students", "guardians")
    op.add_column("students", sa.Column("photo_id", sa.Uuid(), nullable=True))
    indexes()
    op.execute("GRANT SELECT ON guardians TO campshub_definer")
    ddl.definer_function("guardians_with_words(text)", WORDS)
    allow_roles(ROLES_NOW)
    op.add_column(
        "organizations",
        sa.Column("guardians_see_training", sa.Boolean(), server_default=sa.false(), nullable=False),
    )


def downgrade() -> None:
    allow_roles(ROLES_BEFORE)
    op.drop_column("organizations", "guardians_see_training")
    op.execute("DROP FUNCTION guardians_with_words(text)")
    op.drop_column("students", "photo_id")
    op.add_column("students", sa.Column("guardians", pg.JSONB(), server_default=sa.text("'[]'"), nullable=False))
    op.execute("SET ROLE campshub_backfill")  # policies bind the owner
    op.execute(ENTRIES)
    op.execute("SET ROLE campshub_owner")
    op.alter_column("students", "guardians", server_default=None)
    op.drop_table("student_guardians")
    op.drop_table("guardians")


def guardians() -> None:
    op.create_table(
        "guardians",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sort_name", KEY, nullable=False),
        sa.Column("search_text", KEY, nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("email_key", KEY, nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("phone_key", KEY, nullable=True),
        sa.Column("deleted_at", INSTANT, nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        *versioned(),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["memberships.organization_id", "memberships.user_id"],
            name=op.f("fk_guardians_user_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_guardians")),
    )


def links() -> None:
    op.create_table(
        "student_guardians",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("student_id", sa.Uuid(), nullable=False),
        sa.Column("guardian_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=True),
        sa.Column("is_primary", sa.Boolean(), nullable=False),
        sa.Column("may_pick_up", sa.Boolean(), nullable=False),
        sa.Column("receives_notifications", sa.Boolean(), nullable=False),
        *versioned(),
        *(
            sa.ForeignKeyConstraint(
                ["organization_id", f"{one}_id"],
                [f"{one}s.organization_id", f"{one}s.id"],
                name=op.f(f"fk_student_guardians_{one}_id"),
            )
            for one in ("student", "guardian")
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_student_guardians")),
        sa.UniqueConstraint(
            *("organization_id", "student_id", "guardian_id"),
            name=op.f("uq_student_guardians_student_id_guardian_id"),
            postgresql_nulls_not_distinct=True,
        ),
    )


def versioned() -> tuple[sa.Column, ...]:
    return (
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.func.now(), nullable=False),
    )


def indexes() -> None:
    """Make the indexes when the rows are there: each is built once, and those that are unique check the rows."""
    for name, columns, where in (
        ("uq_guardians_phone", ("sort_name", "phone_key"), ALIVE),
        ("uq_guardians_email", ("sort_name", "email_key"), ALIVE),
        ("uq_guardians_external_id", ("external_id",), None),
        ("uq_guardians_user_id", ("user_id",), None),
        ("ix_guardians_sort_name_id", ("sort_name", "id"), None),
        ("ix_guardians_phone_key_sort_name_id", ("phone_key", "sort_name", "id"), None),
        ("ix_guardians_email_key_sort_name_id", ("email_key", "sort_name", "id"), None),
        ("ix_guardians_deleted", ("sort_name", "id"), "deleted_at IS NOT NULL"),
    ):
        condition = sa.text(where) if where else None
        unique = name.startswith("uq")
        op.create_index(name, "guardians", ["organization_id", *columns], unique=unique, postgresql_where=condition)
    op.create_index(
        "ix_guardians_search",
        "guardians",
        ["organization_id", sa.literal_column("search_text gin_trgm_ops")],
        postgresql_using="gin",
    )
    table = "student_guardians"
    op.create_index(
        op.f(f"ix_{table}_guardian_id_student_id"), table, ["organization_id", "guardian_id", "student_id"]
    )
    op.create_index(
        f"uq_{table}_primary",
        table,
        ["organization_id", "student_id"],
        unique=True,
        postgresql_where=sa.text("is_primary"),
    )


def allow_roles(roles: str) -> None:
    for table in ("memberships", "invitations"):
        op.drop_constraint(op.f(f"ck_{table}_role"), table)
        op.create_check_constraint(op.f(f"ck_{table}_role"), table, f"role IN ({roles}, 'custom')")


def move_entries() -> None:
    """Turn the entries of each organization's students into guardians and links."""
    connection = op.get_bind()
    for organization_id, students in groupby(_students(connection), key=lambda row: row.organization_id):
        people = People()
        links_ = [link for student in students for link in _links(people, student)]
        for statement, rows in ((GUARDIANS, people.rows), (LINKS, links_)):
            for first in range(0, len(rows), BATCH):
                values = {"owner": organization_id, "rows": json.dumps(rows[first : first + BATCH])}
                connection.execute(sa.text(statement), values)


class People:
    """The guardians of one organization: found again by name and phone number, or by name and e-mail address."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._by_key: dict[tuple[str, ...], dict[str, Any]] = {}

    def one(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return the person of an entry; what is missing in their row is taken from the entry."""
        phone, email = entry.get("phone") or None, entry.get("email") or None
        email = clean_email(email) if email else None
        name = entry.get("name") or email or phone or "?"
        row = {"id": str(new_id()), "name": name, "phone": phone, "email": email}
        row |= names.guardian_keys(name, phone, email)
        found = next((self._by_key[key] for key in self._keys(row) if key in self._by_key), None)
        if found is None:
            self.rows.append(row)
            found = row
        for kind in ("phone", "email"):
            key = (kind, row["sort_name"], row[f"{kind}_key"])
            if row[kind] and found[kind] in (None, row[kind]) and self._by_key.setdefault(key, found) is found:
                found[kind], found[f"{kind}_key"] = row[kind], row[f"{kind}_key"]
        return found

    @staticmethod
    def _keys(row: dict[str, Any]) -> Iterator[tuple[str, ...]]:
        for kind in ("phone", "email"):
            if row[f"{kind}_key"]:
                yield kind, row["sort_name"], row[f"{kind}_key"]


def _links(people: People, student: Any) -> Iterator[dict[str, Any]]:
    linked: dict[str, dict[str, Any]] = {}
    for entry in student.guardians:
        guardian_id = people.one(entry)["id"]
        if guardian_id not in linked:
            relation = entry.get("relation") or None
            linked[guardian_id] = {"student_id": str(student.id), "guardian_id": guardian_id, "relation": relation}
            yield {**linked[guardian_id], "position": len(linked) - 1}


def _students(connection: sa.Connection) -> Iterator[Any]:
    after = (UUID(int=0), UUID(int=0))
    while rows := connection.execute(
        sa.text(
            "SELECT organization_id, id, guardians FROM students"
            " WHERE (organization_id, id) > (:organization_id, :id) AND guardians <> '[]'"
            f" ORDER BY organization_id, id LIMIT {BATCH}"  # noqa: S608 - a number
        ),
        {"organization_id": after[0], "id": after[1]},
    ).all():
        yield from rows
        after = rows[-1].organization_id, rows[-1].id
