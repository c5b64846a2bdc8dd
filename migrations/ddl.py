"""Words that migrations share: who may touch a table, whose rows they see, and its partitions."""

from datetime import date

from alembic import op

TENANT = "NULLIF(current_setting('app.organization_id', true), '')::uuid"
TENANT_ONCE = f"(SELECT {TENANT})"  # read once for a statement
PLATFORM = "'00000000-0000-7000-8000-000000000000'::uuid"
MONTHS_BACK = 14  # attendance reaches 400 days back
MONTHS_AHEAD = 6


def protect(table: str, *, key: str = "organization_id", shared: bool = False, using: str | None = None) -> None:
    """Show an organization its own rows alone; with ``shared``, the platform's too, to read.

    Forced, so that not even the owner sees more. Policies have no subquery, so that their tables can be distributed;
    those of shared rows have one, because their tables are joined row by row.
    """
    own = using or f"{key} = {TENANT}"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    if not shared:
        op.execute(f"CREATE POLICY tenant ON {table} USING ({own}) WITH CHECK ({own})")
        return
    op.execute(f"CREATE POLICY tenant_reads ON {table} FOR SELECT USING ({key} IN ({TENANT_ONCE}, {PLATFORM}))")
    op.execute(f"CREATE POLICY tenant_adds ON {table} FOR INSERT WITH CHECK ({own})")
    op.execute(f"CREATE POLICY tenant_changes ON {table} FOR UPDATE USING ({own}) WITH CHECK ({own})")
    op.execute(f"CREATE POLICY tenant_removes ON {table} FOR DELETE USING ({own})")


def grant(table: str, *, app: str = "SELECT, INSERT, UPDATE, DELETE") -> None:
    """Grant the application what it does with a table; the system role does anything, people read."""
    if app:
        op.execute(f"GRANT {app} ON {table} TO campshub_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO campshub_system, campshub_backfill")
    op.execute(f"GRANT SELECT ON {table} TO campshub_readonly")


def tenant_table(table: str, *, shared: bool = False, app: str = "SELECT, INSERT, UPDATE, DELETE") -> None:
    """Protect a tenant's table and grant its use."""
    protect(table, shared=shared)
    grant(table, app=app)


def monthly_partitions(table: str) -> None:
    """Make the months of a partitioned table that the business range asks for today."""
    today = date.today()  # noqa: DTZ011 - a month more or less at either end does no harm
    op.execute(
        f"SELECT ensure_partitions('{table}', (DATE '{today}' - INTERVAL '{MONTHS_BACK} months')::date,"
        f" (DATE '{today}' + INTERVAL '{MONTHS_AHEAD} months')::date)"
    )


def definer_function(signature: str, text: str) -> None:
    """Make a function that sees past the policies; it belongs to a role that cannot log in.

    The role may create in the schema for this moment alone.
    """
    op.execute("GRANT CREATE ON SCHEMA public TO campshub_definer")
    op.execute("SET ROLE campshub_definer")
    op.execute(text)
    op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO campshub_app, campshub_system")
    op.execute("SET ROLE campshub_owner")
    op.execute("REVOKE CREATE ON SCHEMA public FROM campshub_definer")


def trigger_function(name: str, body: str) -> None:
    """Make or replace a function that only triggers of the owner's tables call.

    It belongs to the role that sees past the policies: a change that a foreign key cascades comes as the tables' owner,
    whom the forced policies bind, and the system role comes without a tenant.
    """
    op.execute("GRANT CREATE ON SCHEMA public TO campshub_definer")
    op.execute("SET ROLE campshub_definer")
    op.execute(
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        f" SET search_path = pg_catalog, public, pg_temp AS $$ {body} $$"
    )
    op.execute(f"REVOKE ALL ON FUNCTION {name}() FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {name}() TO campshub_owner")
    op.execute("SET ROLE campshub_owner")
    op.execute("REVOKE CREATE ON SCHEMA public FROM campshub_definer")


def after_each_statement(table: str, function: str) -> None:
    """Call a function after each statement that writes to a table, with the rows as ``removed`` and ``added``.

    The statement may name the table or reach it by a cascade, and its rows may lie in any partition.
    """
    old, new = "OLD TABLE AS removed", "NEW TABLE AS added"
    for event, rows in (("insert", new), ("update", f"{old} {new}"), ("delete", old)):
        op.execute(
            f"CREATE TRIGGER {function}_{event} AFTER {event} ON {table} REFERENCING {rows}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )
