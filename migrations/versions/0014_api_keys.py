"""Keys for programs and kiosks, where they were used from, and which of them a change came with.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql as pg

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Beside what it told before: what the key allows with which the caller comes. One that does not hold lets nobody in.
ENTER = """
CREATE FUNCTION enter(organization uuid, person uuid, needed pg_lsn, idempotency_key uuid{given},
  OUT role text, OUT session_version int, OUT time_zone text, OUT organization_status text,
  OUT fresh boolean, OUT key_is_free boolean, OUT answer jsonb, OUT ended_sessions text[],
  OUT permissions text[], OUT scope text{out})
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM set_config('app.organization_id', organization::text, true);
  fresh := needed IS NULL OR NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= needed;
  SELECT o.time_zone, o.status INTO time_zone, organization_status FROM organizations o WHERE o.id = organization;
  IF person IS NOT NULL THEN
    SELECT m.role, u.session_version, r.permissions, r.scope INTO role, session_version, permissions, scope
      FROM memberships m JOIN users u ON u.id = m.user_id
      LEFT JOIN roles r ON r.organization_id = m.organization_id AND r.id = m.role_id
     WHERE m.organization_id = organization AND m.user_id = person AND m.status = 'active' AND u.status = 'active';
    ended_sessions := ARRAY(SELECT s.id::text FROM sign_in_sessions s
                             WHERE s.organization_id = organization AND s.user_id = person
                               AND s.ended_at IS NOT NULL AND s.access_until > now());{body}
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
BEFORE, NOW = "enter(uuid, uuid, pg_lsn, uuid)", "enter(uuid, uuid, pg_lsn, uuid, uuid)"
KEY = """
    IF api_key IS NOT NULL THEN
      SELECT k.permissions, k.scope INTO key_permissions, key_scope FROM api_keys k
       WHERE k.organization_id = organization AND k.id = api_key AND k.user_id = person
         AND k.revoked_at IS NULL AND k.expires_at > now();
      IF NOT FOUND THEN role := NULL; END IF;
    END IF;"""

# Nobody knows the organization yet. Who has only guessed a prefix is told nothing: the hash is compared by the caller.
API_KEYS_OF = """
CREATE FUNCTION api_keys_of(wanted_prefix text)
  RETURNS TABLE (organization_id uuid, id uuid, user_id uuid, secret_hash bytea, expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT k.organization_id, k.id, k.user_id, k.secret_hash, k.expires_at FROM api_keys k
   WHERE k.prefix = wanted_prefix AND k.revoked_at IS NULL AND k.expires_at > now()
$$
"""
# Tells whether the address is new. Policies bind whoever calls it.
NOTE_KEY_USE = """
CREATE FUNCTION note_key_use(key uuid, from_address text) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
  WITH noted AS (
    INSERT INTO api_key_uses AS u (organization_id, api_key_id, address)
    VALUES ((SELECT NULLIF(current_setting('app.organization_id', true), '')::uuid), key, from_address)
    ON CONFLICT (organization_id, api_key_id, address) DO UPDATE SET last_used_at = now()
     WHERE u.last_used_at < now() - INTERVAL '50 seconds'
    RETURNING old.api_key_id IS NULL AS is_new)
  SELECT coalesce((SELECT is_new FROM noted), false)
$$
"""
INSTANT = sa.DateTime(timezone=True)


def enter(*, signature: str, given: str = "", out: str = "", body: str = "") -> None:
    op.execute(f"DROP FUNCTION {BEFORE if signature == NOW else NOW}")
    text = ENTER.replace("{given}", given).replace("{out}", out).replace("{body}", body)
    ddl.definer_function(signature, text)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("permissions", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("revoked_at", INSTANT, nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("kind IN ('key', 'device')", name=op.f("ck_api_keys_kind")),
        sa.CheckConstraint(
            "kind <> 'device' OR permissions = ARRAY['attendance:mark']", name=op.f("ck_api_keys_device")
        ),
        sa.CheckConstraint(
            "NOT permissions && ARRAY['keys:write', 'me:read', 'me:write', 'organizations:write']",
            name=op.f("ck_api_keys_permissions"),
        ),
        sa.CheckConstraint("scope IN ('all', 'groups', 'own')", name=op.f("ck_api_keys_scope")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id")),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_api_keys")),
    )
    op.create_index(op.f("ix_api_keys_user_id"), "api_keys", ["user_id"])
    op.create_index(op.f("ix_api_keys_prefix"), "api_keys", ["prefix"])
    op.create_table(
        "api_key_uses",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("api_key_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("first_used_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("last_used_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "api_key_id"],
            ["api_keys.organization_id", "api_keys.id"],
            name=op.f("fk_api_key_uses_api_key_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organization_id", "api_key_id", "address", name=op.f("pk_api_key_uses")),
    )
    for table in ("api_keys", "api_key_uses"):
        ddl.tenant_table(table)
    op.execute("GRANT SELECT ON api_keys TO campshub_definer")
    for table in ("audit_log", "security_events"):
        op.add_column(table, sa.Column("api_key_id", sa.Uuid(), nullable=True))
    enter(signature=NOW, given=", api_key uuid", out=",\n  OUT key_permissions text[], OUT key_scope text", body=KEY)
    ddl.definer_function("api_keys_of(text)", API_KEYS_OF)
    op.execute(NOTE_KEY_USE)
    op.execute("REVOKE ALL ON FUNCTION note_key_use(uuid, text) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION note_key_use(uuid, text) TO campshub_app, campshub_system")


def downgrade() -> None:
    op.execute("DROP FUNCTION note_key_use(uuid, text)")
    op.execute("DROP FUNCTION api_keys_of(text)")
    enter(signature=BEFORE)
    for table in ("security_events", "audit_log"):
        op.drop_column(table, "api_key_id")
    op.drop_table("api_key_uses")
    op.drop_table("api_keys")
