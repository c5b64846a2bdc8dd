"""A second factor: one-time codes, recovery codes, and the roles that an organization asks it of.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql as pg

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MFA_OF = """
CREATE FUNCTION mfa_of(person uuid)
  RETURNS TABLE (sealed_secret text, is_confirmed boolean, codes_left bigint, is_required boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT s.sealed_secret, s.confirmed_at IS NOT NULL,
         (SELECT count(*) FROM recovery_codes c WHERE c.user_id = person AND c.used_at IS NULL),
         EXISTS (SELECT FROM memberships m JOIN organizations o ON o.id = m.organization_id
                  WHERE m.user_id = person AND m.role = ANY (o.mfa_roles)
                    AND m.organization_id = (SELECT NULLIF(current_setting('app.organization_id', true), '')::uuid))
    FROM (SELECT) one LEFT JOIN totp_secrets s ON s.user_id = person
$$
"""
# A code works once: whoever comes second waits for the row and finds that its step has been used.
USE_TOTP_STEP = """
CREATE FUNCTION use_totp_step(person uuid, step bigint) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  WITH used AS (
    UPDATE totp_secrets SET last_step = step WHERE user_id = person AND last_step < step RETURNING 1)
  SELECT EXISTS (SELECT FROM used)
$$
"""
USE_RECOVERY_CODE = """
CREATE FUNCTION use_recovery_code(person uuid, hash bytea) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  WITH used AS (
    UPDATE recovery_codes SET used_at = now()
     WHERE user_id = person AND code_hash = hash AND used_at IS NULL RETURNING 1)
  SELECT EXISTS (SELECT FROM used)
$$
"""
BEGIN_TOTP = """
CREATE FUNCTION begin_totp(person uuid, sealed text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  WITH begun AS (
    INSERT INTO totp_secrets (user_id, sealed_secret) VALUES (person, sealed)
    ON CONFLICT (user_id) DO UPDATE SET sealed_secret = excluded.sealed_secret, last_step = 0
     WHERE totp_secrets.confirmed_at IS NULL RETURNING 1)
  SELECT EXISTS (SELECT FROM begun)
$$
"""
CONFIRM_TOTP = """
CREATE FUNCTION confirm_totp(person uuid) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  WITH confirmed AS (
    UPDATE totp_secrets SET confirmed_at = now() WHERE user_id = person AND confirmed_at IS NULL RETURNING 1)
  SELECT EXISTS (SELECT FROM confirmed)
$$
"""
REPLACE_RECOVERY_CODES = """
CREATE FUNCTION replace_recovery_codes(person uuid, hashes bytea[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  DELETE FROM recovery_codes WHERE user_id = person;
  INSERT INTO recovery_codes (user_id, code_hash) SELECT person, unnest(hashes);
$$
"""
REMOVE_TOTP = """
CREATE FUNCTION remove_totp(person uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  DELETE FROM recovery_codes WHERE user_id = person;
  DELETE FROM totp_secrets WHERE user_id = person;
$$
"""
FUNCTIONS = {
    "mfa_of(uuid)": MFA_OF,
    "use_totp_step(uuid, bigint)": USE_TOTP_STEP,
    "use_recovery_code(uuid, bytea)": USE_RECOVERY_CODE,
    "begin_totp(uuid, text)": BEGIN_TOTP,
    "confirm_totp(uuid)": CONFIRM_TOTP,
    "replace_recovery_codes(uuid, bytea[])": REPLACE_RECOVERY_CODES,
    "remove_totp(uuid)": REMOVE_TOTP,
}
CLOSED = ("totp_secrets", "recovery_codes")


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.add_column(
        "organizations", sa.Column("mfa_roles", pg.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )
    op.add_column(
        "sign_in_sessions", sa.Column("must_enrol", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_table(
        "totp_secrets",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.Column("confirmed_at", instant, nullable=True),
        sa.Column("last_step", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_totp_secrets_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_totp_secrets")),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", instant, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_recovery_codes_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "code_hash", name=op.f("pk_recovery_codes")),
    )
    for table in CLOSED:  # everybody asks a definer function
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO campshub_system, campshub_backfill")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO campshub_definer")
    for signature, text in FUNCTIONS.items():
        ddl.definer_function(signature, text)


def downgrade() -> None:
    for signature in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {signature}")
    for table in reversed(CLOSED):
        op.drop_table(table)
    op.drop_column("sign_in_sessions", "must_enrol")
    op.drop_column("organizations", "mfa_roles")
