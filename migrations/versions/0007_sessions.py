"""Sign-ins that rotate their refresh tokens and end one by one, and the record of security events.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Beside what it told before: which of the caller's sessions have ended though an access token of theirs has not.
ENTER = """
CREATE FUNCTION enter(organization uuid, person uuid, needed pg_lsn, idempotency_key uuid,
  OUT role text, OUT session_version int, OUT time_zone text, OUT organization_status text,
  OUT fresh boolean, OUT key_is_free boolean, OUT answer jsonb{out})
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM set_config('app.organization_id', organization::text, true);
  fresh := needed IS NULL OR NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= needed;
  SELECT o.time_zone, o.status INTO time_zone, organization_status FROM organizations o WHERE o.id = organization;
  IF person IS NOT NULL THEN
    SELECT m.role, u.session_version INTO role, session_version
      FROM memberships m JOIN users u ON u.id = m.user_id
     WHERE m.organization_id = organization AND m.user_id = person AND m.status = 'active' AND u.status = 'active';{body}
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
ENDED = """
    ended_sessions := ARRAY(SELECT s.id::text FROM sign_in_sessions s
                             WHERE s.organization_id = organization AND s.user_id = person
                               AND s.ended_at IS NOT NULL AND s.access_until > now());"""

# Those of one user in the present organization, but for the one that goes on. Policies bind whoever calls it.
END_SESSIONS = """
CREATE FUNCTION end_sessions_of(person uuid, at timestamptz, but uuid) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
  WITH ended AS (
    UPDATE sign_in_sessions SET ended_at = at, version = version + 1, updated_at = now()
     WHERE user_id = person AND ended_at IS NULL AND id IS DISTINCT FROM but RETURNING 1)
  SELECT count(*) FROM ended
$$
"""

NOW = sa.text("now()")


def enter(*, out: str, body: str) -> None:
    op.execute("DROP FUNCTION enter(uuid, uuid, pg_lsn, uuid)")
    text = ENTER.replace("{out}", out).replace("{body}", body)
    ddl.definer_function("enter(uuid, uuid, pg_lsn, uuid)", text)


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    for column in (
        sa.Column("previous_hash", sa.LargeBinary(), nullable=True),
        sa.Column("rotated_at", instant, server_default=NOW, nullable=False),
        sa.Column("idle_until", instant, server_default=NOW, nullable=False),
        sa.Column("access_until", instant, server_default=NOW, nullable=False),
        sa.Column("authenticated_at", instant, server_default=NOW, nullable=False),
        sa.Column("session_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
    ):
        op.add_column("sign_in_sessions", column)
    op.create_index(
        "ix_sign_in_sessions_ended",
        "sign_in_sessions",
        ["organization_id", "user_id", "access_until"],
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_table(
        "security_events",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_security_events")),
    )
    ddl.tenant_table("security_events", app="SELECT, INSERT")
    enter(out=", OUT ended_sessions text[]", body=ENDED)
    op.execute(END_SESSIONS)
    op.execute("REVOKE ALL ON FUNCTION end_sessions_of(uuid, timestamptz, uuid) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION end_sessions_of(uuid, timestamptz, uuid) TO campshub_app, campshub_system")


def downgrade() -> None:
    op.execute("DROP FUNCTION end_sessions_of(uuid, timestamptz, uuid)")
    enter(out="", body="")
    op.drop_table("security_events")
    op.drop_index("ix_sign_in_sessions_ended", table_name="sign_in_sessions")
    for name in (
        "user_agent", "address", "session_version", "authenticated_at", "access_until", "idle_until", "rotated_at",
        "previous_hash",
    ):
        op.drop_column("sign_in_sessions", name)
