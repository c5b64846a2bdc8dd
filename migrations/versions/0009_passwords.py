"""Attempts to sign in, resets of forgotten passwords, and each organization's own rule for passwords.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# An attempt counts as failed until it turns out to be genuine; so fifty at once are not more than fifty in a row. One
# that comes while its account or address is held is not counted, or whoever keeps trying would hold it for ever.
COUNT_ATTEMPT = """
CREATE FUNCTION count_attempt(counted bytea, allowed int, first_s int, longest_s int, forgets interval,
  OUT is_held boolean, OUT failures int)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO sign_in_attempts AS a (key, failures, last_at, held_until)
  VALUES (counted, 1, now(), CASE WHEN allowed <= 1 THEN now() + first_s * INTERVAL '1 second' END)
  ON CONFLICT (key) DO UPDATE SET (failures, last_at, held_until) = (
    SELECT n.failures, now(), CASE WHEN n.failures >= allowed
           THEN now() + least(longest_s, first_s * 2 ^ least(n.failures - allowed, 20)) * INTERVAL '1 second' END
      FROM (SELECT CASE WHEN a.last_at < now() - forgets THEN 1 ELSE a.failures + 1 END AS failures) n
     WHERE a.held_until IS NULL OR a.held_until <= now()
    UNION ALL SELECT a.failures, a.last_at, a.held_until WHERE a.held_until > now())
  RETURNING coalesce(old.held_until > now(), false), new.failures
$$
"""

BEGIN_SIGN_IN = """
CREATE FUNCTION begin_sign_in(wanted_email_key text, account bytea, account_allowed int, place bytea, place_allowed int,
  first_s int, longest_s int)
  RETURNS TABLE (user_id uuid, status text, session_version int, password_hash text, is_held boolean, failures int)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT u.id, u.status, u.session_version, c.password_hash, own.is_held OR shared.is_held, own.failures
    FROM count_attempt(account, account_allowed, first_s, longest_s, INTERVAL '1 day') own
    CROSS JOIN count_attempt(place, place_allowed, first_s, longest_s, INTERVAL '1 hour') shared
    LEFT JOIN users u ON u.email_key = wanted_email_key
    LEFT JOIN user_credentials c ON c.user_id = u.id
$$
"""

END_SIGN_IN = """
CREATE FUNCTION end_sign_in(account bytea, place bytea, person uuid, upgraded text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  DELETE FROM sign_in_attempts WHERE key = account;
  UPDATE sign_in_attempts SET failures = greatest(failures - 1, 0), held_until = NULL WHERE key = place;
  UPDATE user_credentials SET password_hash = upgraded WHERE user_id = person AND upgraded IS NOT NULL;
$$
"""

# An event for each organization of the user, else one of the platform's: an unknown address costs the same work. It is
# not stamped, so lists of events must not be kept.
SIGN_IN_FAILED = """
CREATE FUNCTION sign_in_failed(person uuid, what text, at timestamptz, from_address text, trace text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO security_events (organization_id, id, at, kind, user_id, address, trace_id)
  SELECT coalesce(m.organization_id, '00000000-0000-7000-8000-000000000000'), uuidv7(), at, what, person,
         from_address, trace
    FROM (SELECT) one LEFT JOIN memberships m ON m.user_id = person AND m.status = 'active'
$$
"""

CREDENTIALS_OF_USER = """
CREATE FUNCTION credentials_of_user(person uuid) RETURNS TABLE (email text, password_hash text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT u.email, c.password_hash FROM users u LEFT JOIN user_credentials c ON c.user_id = u.id
   WHERE u.id = person AND u.status = 'active'
$$
"""

SET_PASSWORD = """
CREATE FUNCTION set_password(person uuid, hashed text, account bytea) RETURNS int
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO user_credentials (user_id, password_hash, changed_at) VALUES (person, hashed, now())
      ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash, changed_at = excluded.changed_at;
  UPDATE password_resets SET used_at = now() WHERE user_id = person AND used_at IS NULL;
  DELETE FROM sign_in_attempts WHERE key = account;
  UPDATE users SET session_version = session_version + 1, version = version + 1, updated_at = now()
   WHERE id = person RETURNING session_version;
$$
"""

PASSWORD_RESET_OF = """
CREATE FUNCTION password_reset_of(hash bytea) RETURNS TABLE (user_id uuid, email text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT u.id, u.email FROM password_resets r JOIN users u ON u.id = r.user_id
   WHERE r.token_hash = hash AND r.used_at IS NULL AND r.expires_at > now() AND u.status = 'active'
$$
"""

# Whoever comes second finds it used: the row is locked, and looked at again, by the first statement.
USE_PASSWORD_RESET = """
CREATE FUNCTION use_password_reset(hash bytea, hashed text, account bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE person uuid;
BEGIN
  UPDATE password_resets SET used_at = now() WHERE token_hash = hash AND used_at IS NULL AND expires_at > now()
    RETURNING user_id INTO person;
  IF person IS NULL THEN RETURN false; END IF;
  PERFORM set_password(person, hashed, account);
  RETURN true;
END $$
"""

MEMBERSHIPS_OF = """
CREATE FUNCTION memberships_of(person uuid)
  RETURNS TABLE (organization_id uuid, name text, role text, last_sign_in_at timestamptz{out})
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT o.id, o.name, m.role,
         (SELECT max(s.created_at) FROM sign_in_sessions s
           WHERE s.organization_id = m.organization_id AND s.user_id = m.user_id){columns}
    FROM memberships m JOIN organizations o ON o.id = m.organization_id
   WHERE m.user_id = person AND m.status = 'active' AND o.status = 'active'
   ORDER BY 4 DESC NULLS LAST, o.name, o.id
$$
"""
FUNCTIONS = {
    "count_attempt(bytea, int, int, int, interval)": COUNT_ATTEMPT,
    "begin_sign_in(text, bytea, int, bytea, int, int, int)": BEGIN_SIGN_IN,
    "end_sign_in(bytea, bytea, uuid, text)": END_SIGN_IN,
    "sign_in_failed(uuid, text, timestamptz, text, text)": SIGN_IN_FAILED,
    "credentials_of_user(uuid)": CREDENTIALS_OF_USER,
    "set_password(uuid, text, bytea)": SET_PASSWORD,
    "password_reset_of(bytea)": PASSWORD_RESET_OF,
    "use_password_reset(bytea, text, bytea)": USE_PASSWORD_RESET,
}
CLOSED = ("sign_in_attempts", "password_resets")


def memberships_of(*, out: str = "", columns: str = "") -> None:
    op.execute("DROP FUNCTION memberships_of(uuid)")
    ddl.definer_function(
        "memberships_of(uuid)", MEMBERSHIPS_OF.replace("{out}", out).replace("{columns}", columns)
    )


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.add_column("organizations", sa.Column("password_length_min", sa.Integer(), server_default="12", nullable=False))
    op.create_check_constraint(
        op.f("ck_organizations_password_length_min"), "organizations", "password_length_min BETWEEN 8 AND 64"
    )
    op.create_table(
        "sign_in_attempts",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", instant, nullable=False),
        sa.Column("held_until", instant, nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sign_in_attempts")),
    )
    op.create_table(
        "password_resets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", instant, nullable=False),
        sa.Column("used_at", instant, nullable=True),
        sa.Column("created_at", instant, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_password_resets_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_password_resets")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_password_resets_token_hash")),
    )
    op.create_index(op.f("ix_password_resets_user_id"), "password_resets", ["user_id"])
    for table in CLOSED:  # everybody asks a definer function
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO campshub_system, campshub_backfill")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO campshub_definer")
    op.execute("GRANT INSERT, UPDATE ON user_credentials TO campshub_definer")
    op.execute("GRANT UPDATE ON users TO campshub_definer")
    op.execute("GRANT INSERT ON security_events TO campshub_definer")
    for signature, text in FUNCTIONS.items():
        ddl.definer_function(signature, text)
    memberships_of(out=", password_length_min int", columns=", o.password_length_min")


def downgrade() -> None:
    memberships_of()
    for signature in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("REVOKE INSERT ON security_events FROM campshub_definer")
    op.execute("REVOKE UPDATE ON users FROM campshub_definer")
    op.execute("REVOKE INSERT, UPDATE ON user_credentials FROM campshub_definer")
    for table in reversed(CLOSED):
        op.drop_table(table)
    op.drop_constraint(op.f("ck_organizations_password_length_min"), "organizations")
    op.drop_column("organizations", "password_length_min")
