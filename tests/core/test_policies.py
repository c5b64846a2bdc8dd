"""Row-level security without the application: what PostgreSQL returns when a query has no filter."""

import uuid

import psycopg
import pytest
from psycopg import sql as psycopg_sql
from sqlalchemy import select, text

from campshub.app import create_app
from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.db.session import Unit, db, open_session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.permissions import Role
from campshub.students.models import Student
from devstack import keys
from tests.conftest import TEMPLATE, new_tenant, settings_of

OURS, THEIRS = uuid.UUID(int=1), uuid.UUID(int=2)
TENANTS_TABLES = """
SELECT c.relname, c.relispartition FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND attname = 'organization_id'
 ORDER BY 1
"""
COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), typcategory FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
 WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attnotnull AND NOT atthasdef
"""
VALUES = {
    "uuid": "gen_random_uuid()",
    "date": "current_date",
    "timestamp with time zone": "now()",
    "jsonb": "'[]'",
    "text[]": "'{}'",
    "uuid[]": "'{}'",
    "smallint[]": "'{}'",
    "bytea": "''",
    "boolean": "true",
    "text": "'planted'",
}


@pytest.fixture
def as_app(stack, scratch):
    """Connect as the application's role, to query without filters."""
    address = stack.primary.dsn(scratch).rpartition("@")[2]
    secret = keys.load(stack.workspace)["app"]
    with psycopg.connect(f"postgresql://{keys.role('app')}:{secret}@{address}", autocommit=True) as connection:
        yield connection


@pytest.fixture
def owner(stack, scratch):
    with stack.primary.connect(scratch) as connection:
        yield connection


def plant(owner, table: str) -> None:
    """Insert one row of another organization into a table, without constraints."""
    columns = owner.execute(COLUMNS, [table]).fetchall()
    values = [f"'{THEIRS}'" if name == "organization_id" else VALUES.get(kind, "1") for name, kind, _ in columns]
    names = ", ".join(name for name, _, _ in columns)
    checks = owner.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'", [table]
    ).fetchall()
    for (name,) in checks:
        owner.execute(
            psycopg_sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(*map(psycopg_sql.Identifier, (table, name)))
        )
    owner.execute("SET session_replication_role = replica")  # disables foreign keys
    owner.execute(f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({', '.join(values)})")
    owner.execute("SET session_replication_role = origin")


def seen(as_app, table: str) -> int:
    """Count the rows that a query without filters shows to the first organization."""
    with as_app.transaction():
        as_app.execute("SELECT set_config('app.organization_id', %s, true)", [str(OURS)])
        return as_app.execute(
            psycopg_sql.SQL("SELECT count(*) FROM {} WHERE organization_id = %s").format(psycopg_sql.Identifier(table)),
            [THEIRS],
        ).fetchone()[0]


def test_each_policy_hides_rows_and_a_missing_one_is_detected(owner, as_app):
    tables = [name for name, is_partition in owner.execute(TENANTS_TABLES).fetchall() if not is_partition]
    assert len(tables) > 10
    for table in tables:
        plant(owner, table)

    hidden = {table: seen(as_app, table) for table in tables}
    for table in tables:
        owner.execute(
            psycopg_sql.SQL("ALTER TABLE {} DISABLE ROW LEVEL SECURITY").format(psycopg_sql.Identifier(table))
        )
    shown = {table: seen(as_app, table) for table in tables}

    assert {table: count for table, count in hidden.items() if count} == {}
    assert {table: count for table, count in shown.items() if not count} == {}


def test_the_policies_of_organizations_and_users_hide_rows_and_missing_ones_are_detected(owner, as_app):
    owner.execute(
        "INSERT INTO organizations (id, name, time_zone, currency, locale) VALUES (%s, 'x', 'UTC', 'EUR', 'en')",
        [THEIRS],
    )
    owner.execute("INSERT INTO users (id, email, email_key, name, sort_name) VALUES (%s, 'x', 'x', 'x', 'x')", [THEIRS])

    def seen_ids():
        with as_app.transaction():
            as_app.execute("SELECT set_config('app.organization_id', %s, true)", [str(OURS)])
            return [
                as_app.execute(f"SELECT count(*) FROM {table} WHERE id = %s", [THEIRS]).fetchone()[0]
                for table in ("organizations", "users")
            ]

    assert seen_ids() == [0, 0]
    owner.execute("ALTER TABLE organizations DISABLE ROW LEVEL SECURITY")
    owner.execute("ALTER TABLE users DISABLE ROW LEVEL SECURITY")
    assert seen_ids() == [1, 1]


def test_the_application_cannot_read_partitions_and_credentials_directly(owner, as_app):
    partitions = [name for name, is_partition in owner.execute(TENANTS_TABLES).fetchall() if is_partition]
    assert len(partitions) > 12

    for table in (*partitions, "user_credentials"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_app.execute(f"SELECT 1 FROM {table}")


def test_without_a_tenant_no_row_is_visible(owner, as_app):
    plant(owner, "students")

    assert as_app.execute("SELECT count(*) FROM students").fetchone()[0] == 0
    seen(as_app, "students")  # leaves the setting empty instead of unset
    assert as_app.execute("SELECT count(*) FROM students").fetchone()[0] == 0


def test_a_tenant_cannot_write_rows_of_another(as_app):
    with pytest.raises(psycopg.errors.InsufficientPrivilege), as_app.transaction():
        as_app.execute("SELECT set_config('app.organization_id', %s, true)", [str(OURS)])
        as_app.execute(
            "INSERT INTO outbox (organization_id, id, job, arguments, trace_id) VALUES (%s, %s, 'x', '{}', 'x')",
            [THEIRS, new_id()],
        )


def test_rows_of_the_platform_can_be_read_by_all_and_written_by_no_tenant(owner, as_app):
    shared = [
        row[0]
        for row in owner.execute("SELECT DISTINCT tablename FROM pg_policies WHERE policyname = 'tenant_reads'")
        if not row[0][-4:].isdigit()
    ]
    for table in shared:
        with as_app.transaction():
            as_app.execute("SELECT set_config('app.organization_id', %s, true)", [str(OURS)])
            can = as_app.execute("SELECT has_table_privilege(%s, 'DELETE')", [table]).fetchone()[0]
            count = as_app.execute(
                f"SELECT count(*) FROM {table} WHERE organization_id = %s", [PLATFORM_ID]
            ).fetchone()[0]
            assert count > 0, table
            if can:
                assert as_app.execute(f"DELETE FROM {table} WHERE organization_id = %s", [PLATFORM_ID]).rowcount == 0


def test_validating_a_foreign_key_finds_an_orphan_only_without_the_policies(owner):
    plant(owner, "enrolments")  # its student does not exist
    owner.execute("ALTER TABLE enrolments DROP CONSTRAINT fk_enrolments_student_id")
    owner.execute(
        "ALTER TABLE enrolments ADD CONSTRAINT fk_enrolments_student_id FOREIGN KEY (organization_id, student_id)"
        " REFERENCES students (organization_id, id) NOT VALID"
    )
    validate = "ALTER TABLE enrolments VALIDATE CONSTRAINT fk_enrolments_student_id"

    owner.execute("SET ROLE campshub_backfill")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner.execute(validate)

    # The trap: the forced policy also applies to the owner, who sees no row and so no violation.
    owner.execute("SET ROLE campshub_owner")
    owner.execute(validate)


@pytest.fixture
def narrow(stack, database):
    """An application whose single connection through PgBouncer serves all organizations."""
    app = create_app(settings_of(stack, database, db_pool_size=1, postgres_replica_host=""))
    yield app
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()


def test_two_organizations_taking_turns_on_one_connection_never_see_each_other(narrow):
    tenants = [new_tenant(narrow), new_tenant(narrow)]
    for tenant in tenants:
        tenant.the(Role.ADMIN).made("/api/students/", {"code": "S", "given_name": str(tenant.id), "family_name": "B"})

    for _ in range(5):
        for tenant in tenants:
            shown = tenant.the(Role.ADMIN).get("/api/students/").json["items"]
            assert [student["given_name"] for student in shown] == [str(tenant.id)]
            assert narrow.test_client().get("/api/students/").status_code == 401
            assert (
                tenant.the(Role.ADMIN)
                .post("/api/students/", {"code": "S", "given_name": "a", "family_name": "B"})
                .status
                == 409
            )
            with narrow.app_context():
                session = open_session(Unit(engine=db.engines[None]))
                assert session.scalars(select(Student.id)).all() == []
                assert session.scalar(text("SELECT current_setting('app.organization_id', true)")) in (None, "")
                session.close()


def test_a_unit_of_work_cannot_read_another_organizations_rows_by_id(context, tenant, other, student):
    made = other.the(Role.ADMIN).made("/api/students/", {"code": "S", "given_name": "A", "family_name": "B"})

    with unit_of_work(organization_id=tenant.id, read_only=True) as session:
        assert session.get(Student, (other.id, uuid.UUID(made["id"]))) is None
    with unit_of_work(organization_id=other.id, read_only=True) as session:
        assert session.get(Student, (other.id, uuid.UUID(made["id"]))) is not None
    assert TEMPLATE
