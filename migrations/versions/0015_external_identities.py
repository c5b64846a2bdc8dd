"""Identities of other issuers that are linked to users, and the ID tokens that have been exchanged.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# The user of an identity; else the one who has the e-mail address, unless they have another identity of this issuer:
# then the address has changed hands there, or nobody knows.
IDENTITY_USER = """
CREATE FUNCTION identity_user(wanted_issuer text, wanted_subject text, wanted_email_key text)
  RETURNS TABLE (user_id uuid, email text, status text, session_version int, is_linked boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT u.id, u.email, u.status, u.session_version, true
    FROM external_identities i JOIN users u ON u.id = i.user_id
   WHERE i.issuer = wanted_issuer AND i.subject = wanted_subject
  UNION ALL
  SELECT u.id, u.email, u.status, u.session_version, false
    FROM users u
   WHERE u.email_key = wanted_email_key
     AND NOT EXISTS (SELECT FROM external_identities i WHERE i.issuer = wanted_issuer AND i.subject = wanted_subject)
     AND NOT EXISTS (SELECT FROM external_identities e WHERE e.user_id = u.id AND e.issuer = wanted_issuer)
$$
"""

# True for one of all that come with the same token. Whoever comes while the first is at work waits for how it ends.
EXCHANGE_ID_TOKEN = """
CREATE FUNCTION exchange_id_token(digest bytea, until timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  DELETE FROM exchanged_id_tokens WHERE key IN (
    SELECT e.key FROM exchanged_id_tokens e WHERE e.expires_at < now() LIMIT 10 FOR UPDATE SKIP LOCKED);
  WITH noted AS (
    INSERT INTO exchanged_id_tokens (key, expires_at) VALUES (digest, until) ON CONFLICT DO NOTHING RETURNING 1)
  SELECT EXISTS (SELECT FROM noted);
$$
"""

# The user who has the identity afterwards, whoever came first.
LINK_IDENTITY = """
CREATE FUNCTION link_identity(new_id uuid, new_issuer text, new_subject text, person uuid,
  OUT identity_id uuid, OUT user_id uuid, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  INSERT INTO external_identities (id, issuer, subject, user_id) VALUES (new_id, new_issuer, new_subject, person)
    ON CONFLICT (issuer, subject) DO NOTHING;
  SELECT i.id, i.user_id, i.created_at INTO identity_id, user_id, at
    FROM external_identities i WHERE i.issuer = new_issuer AND i.subject = new_subject;
END $$
"""

IDENTITIES_OF = """
CREATE FUNCTION identities_of(person uuid)
  RETURNS TABLE (id uuid, issuer text, subject text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT i.id, i.issuer, i.subject, i.created_at FROM external_identities i WHERE i.user_id = person ORDER BY i.id
$$
"""

UNLINK_IDENTITY = """
CREATE FUNCTION unlink_identity(person uuid, identity uuid) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  WITH removed AS (DELETE FROM external_identities WHERE id = identity AND user_id = person RETURNING 1)
  SELECT EXISTS (SELECT FROM removed)
$$
"""
FUNCTIONS = {
    "identity_user(text, text, text)": IDENTITY_USER,
    "exchange_id_token(bytea, timestamptz)": EXCHANGE_ID_TOKEN,
    "link_identity(uuid, text, text, uuid)": LINK_IDENTITY,
    "identities_of(uuid)": IDENTITIES_OF,
    "unlink_identity(uuid, uuid)": UNLINK_IDENTITY,
}
CLOSED = ("external_identities", "exchanged_id_tokens")


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "external_identities",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", instant, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_external_identities_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_external_identities")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_external_identities_issuer_subject")),
    )
    op.create_index(op.f("ix_external_identities_user_id"), "external_identities", ["user_id"])
    op.create_table(
        "exchanged_id_tokens",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_exchanged_id_tokens")),
    )
    op.create_index(op.f("ix_exchanged_id_tokens_expires_at"), "exchanged_id_tokens", ["expires_at"])
    op.add_column(
        "sign_in_sessions",
        sa.Column("has_issuers_factor", sa.Boolean(), server_default=sa.text("false"), nullable=False),
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
    op.drop_column("sign_in_sessions", "has_issuers_factor")
    for table in reversed(CLOSED):
        op.drop_table(table)
