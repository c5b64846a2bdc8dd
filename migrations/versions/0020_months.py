"""A month's table is made by a function of its own, so that restoring makes it as ensuring does.

Revision ID: 0020
Revises: 0019
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

MAKE_MONTH = """
CREATE FUNCTION make_month(parent regclass, month date) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  parent_name text := (SELECT relname FROM pg_class WHERE oid = parent);
  child text := format('%s_p%s', parent_name, to_char(month, 'YYYY_MM'));
  policy record;
BEGIN
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent_name);
  EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', child);
  FOR policy IN SELECT * FROM pg_policies WHERE schemaname = 'public' AND tablename = parent_name LOOP
    EXECUTE format('CREATE POLICY %I ON %I FOR %s', policy.policyname, child, policy.cmd)
      || coalesce(format(' USING (%s)', policy.qual), '')
      || coalesce(format(' WITH CHECK (%s)', policy.with_check), '');
  END LOOP;
  RETURN child;
END $$
"""

ENSURE = """
CREATE OR REPLACE FUNCTION ensure_partitions(parent regclass, first date, last date) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
  month date := date_trunc('month', first);
  parent_name text := (SELECT relname FROM pg_class WHERE oid = parent);
  child text;
BEGIN
  WHILE month <= last LOOP
    IF to_regclass(format('%s_p%s', parent_name, to_char(month, 'YYYY_MM'))) IS NULL THEN
      -- LIKE and ATTACH: CREATE TABLE ... PARTITION OF would lock out the parent's readers.
      child := make_month(parent, month);
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                     parent_name, child, month, month + INTERVAL '1 month');
      RETURN NEXT child;
    END IF;
    month := month + INTERVAL '1 month';
  END LOOP;
END $$
"""

# As it was made by 0001.
ENSURE_BEFORE = """
CREATE OR REPLACE FUNCTION ensure_partitions(parent regclass, first date, last date) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
  month date := date_trunc('month', first);
  parent_name text := (SELECT relname FROM pg_class WHERE oid = parent);
  child text;
  policy record;
BEGIN
  WHILE month <= last LOOP
    child := format('%s_p%s', parent_name, to_char(month, 'YYYY_MM'));
    IF to_regclass(child) IS NULL THEN
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent_name);
      EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', child);
      FOR policy IN SELECT * FROM pg_policies WHERE schemaname = 'public' AND tablename = parent_name LOOP
        EXECUTE format('CREATE POLICY %I ON %I FOR %s', policy.policyname, child, policy.cmd)
          || coalesce(format(' USING (%s)', policy.qual), '')
          || coalesce(format(' WITH CHECK (%s)', policy.with_check), '');
      END LOOP;
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                     parent_name, child, month, month + INTERVAL '1 month');
      RETURN NEXT child;
    END IF;
    month := month + INTERVAL '1 month';
  END LOOP;
END $$
"""


def upgrade() -> None:
    op.execute(MAKE_MONTH)
    op.execute("REVOKE ALL ON FUNCTION make_month(regclass, date) FROM PUBLIC")
    op.execute(ENSURE)


def downgrade() -> None:
    op.execute(ENSURE_BEFORE)
    op.execute("DROP FUNCTION make_month(regclass, date)")
