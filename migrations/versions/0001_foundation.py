"""The platform's own tables, organizations and users, and the functions that precede the tenant.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql as pg

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MAKE_PARTITION = """
CREATE FUNCTION ensure_partitions(parent regclass, first date, last date) RETURNS SETOF text
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
      -- LIKE and ATTACH: CREATE TABLE ... PARTITION OF would lock out the parent's readers.
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

ENTER = """
CREATE FUNCTION enter(organization uuid, person uuid, needed pg_lsn, idempotency_key uuid,
  OUT role text, OUT session_version int, OUT time_zone text, OUT organization_status text,
  OUT fresh boolean, OUT key_is_free boolean, OUT answer jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM set_config('app.organization_id', organization::text, true);
  fresh := needed IS NULL OR NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= needed;
  SELECT o.time_zone, o.status INTO time_zone, organization_status FROM organizations o WHERE o.id = organization;
  IF person IS NOT NULL THEN
    SELECT m.role, u.session_version INTO role, session_version
      FROM memberships m JOIN users u ON u.id = m.user_id
     WHERE m.organization_id = organization AND m.user_id = person AND m.status = 'active' AND u.status = 'active';
  END IF;
  IF idempotency_key IS NOT NULL THEN
    -- The lock first and the row after it, in a snapshot of its own: whoever held the lock has committed by then.
    key_is_free := pg_try_advisory_xact_lock(hashtextextended(organization::text || idempotency_key::text, 0));
    IF key_is_free THEN
      SELECT jsonb_build_object('fingerprint', k.fingerprint, 'status', k.status, 'headers', k.headers,
                                'body', encode(k.body, 'base64'))
        INTO answer FROM idempotency_keys k
       WHERE k.organization_id = organization AND k.id = idempotency_key AND k.created_at > now() - INTERVAL '24 hours';
    END IF;
  END IF;
END $$
"""

CREDENTIALS_OF = """
CREATE FUNCTION credentials_of(wanted_email_key text)
  RETURNS TABLE (user_id uuid, status text, session_version int, password_hash text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT u.id, u.status, u.session_version, c.password_hash
    FROM users u LEFT JOIN user_credentials c ON c.user_id = u.id WHERE u.email_key = wanted_email_key
$$
"""

MEMBERSHIPS_OF = """
CREATE FUNCTION memberships_of(person uuid)
  RETURNS TABLE (organization_id uuid, name text, role text, last_sign_in_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT o.id, o.name, m.role,
         (SELECT max(s.created_at) FROM sign_in_sessions s
           WHERE s.organization_id = m.organization_id AND s.user_id = m.user_id)
    FROM memberships m JOIN organizations o ON o.id = m.organization_id
   WHERE m.user_id = person AND m.status = 'active' AND o.status = 'active'
   ORDER BY 4 DESC NULLS LAST, o.name, o.id
$$
"""


def versioned():
    return [
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "organizations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        *versioned(),
        sa.CheckConstraint("status IN ('active', 'suspended', 'closed')", name=op.f("ck_organizations_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("session_version", sa.Integer(), server_default="1", nullable=False),
        *versioned(),
        sa.CheckConstraint("status IN ('invited', 'active', 'disabled')", name=op.f("ck_users_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email_key", name=op.f("uq_users_email_key")),
    )
    op.create_table(
        "user_credentials",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_credentials_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_credentials")),
    )
    op.create_table(
        "memberships",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        *versioned(),
        sa.CheckConstraint(
            "role IN ('superadmin', 'admin', 'trainer', 'nutritionist', 'client')", name=op.f("ck_memberships_role")
        ),
        sa.CheckConstraint("status IN ('active', 'disabled')", name=op.f("ck_memberships_status")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_memberships")),
        sa.UniqueConstraint(
            "organization_id", "user_id", name=op.f("uq_memberships_user_id"), postgresql_nulls_not_distinct=True
        ),
    )
    op.create_index(op.f("ix_memberships_role"), "memberships", ["organization_id", "role"])
    op.create_index(op.f("ix_memberships_user_id"), "memberships", ["user_id"])
    op.create_table(
        "sign_in_sessions",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("refresh_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        *versioned(),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sign_in_sessions_user_id")),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_sign_in_sessions")),
    )
    op.create_index(op.f("ix_sign_in_sessions_user_id"), "sign_in_sessions", ["user_id", "organization_id"])
    op.create_table(
        "audit_log",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("recorded_on", sa.Date(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("before", pg.JSONB(), nullable=True),
        sa.Column("after", pg.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "recorded_on", "id", name=op.f("pk_audit_log")),
        postgresql_partition_by="RANGE (recorded_on)",
    )
    op.create_table(
        "person_keys",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sealed_key", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_person_keys")),
    )
    op.create_table(
        "outbox",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("arguments", pg.JSONB(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", pg.JSONB(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_idempotency_keys")),
    )
    ddl.protect("organizations", key="id")
    ddl.grant("organizations", app="SELECT, UPDATE")
    # memberships has its own policy, so this shows the users of the current organization alone.
    ddl.protect("users", using="id IN (SELECT m.user_id FROM memberships m)")
    ddl.grant("users", app="SELECT, UPDATE")
    op.execute("ALTER TABLE user_credentials ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON user_credentials TO campshub_system, campshub_backfill")
    ddl.tenant_table("memberships")
    ddl.tenant_table("sign_in_sessions")
    ddl.tenant_table("audit_log", app="SELECT, INSERT")
    ddl.tenant_table("person_keys")
    ddl.tenant_table("outbox")
    ddl.tenant_table("idempotency_keys")
    op.execute(
        "GRANT SELECT ON organizations, users, user_credentials, memberships, sign_in_sessions, idempotency_keys"
        " TO campshub_definer"
    )
    op.execute(MAKE_PARTITION)
    op.execute("REVOKE ALL ON FUNCTION ensure_partitions(regclass, date, date) FROM PUBLIC")
    ddl.monthly_partitions("audit_log")
    ddl.definer_function("enter(uuid, uuid, pg_lsn, uuid)", ENTER)
    ddl.definer_function("credentials_of(text)", CREDENTIALS_OF)
    ddl.definer_function("memberships_of(uuid)", MEMBERSHIPS_OF)


def downgrade() -> None:
    for function in (
        "memberships_of(uuid)",
        "credentials_of(text)",
        "enter(uuid, uuid, pg_lsn, uuid)",
        "ensure_partitions(regclass, date, date)",
    ):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP POLICY tenant ON users")  # it reads memberships
    for table in (
        "idempotency_keys",
        "outbox",
        "person_keys",
        "audit_log",
        "sign_in_sessions",
        "memberships",
        "user_credentials",
        "users",
        "organizations",
    ):
        op.drop_table(table)
