"""The epoch of freshness, and the servers' identities.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# One statement, one snapshot: folding rows into the base never shows a number in between.
EPOCH = """
CREATE FUNCTION freshness_epoch() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT (SELECT b.value FROM epoch_base b) + (SELECT count(*) FROM unstamped_writes)
$$
"""

# The database too: several may share a server and a cache.
IDENTITY_OF = """
CREATE FUNCTION identity_of(timeline text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT (SELECT system_identifier FROM pg_control_system()) || '-' || timeline || '-'
      || (SELECT oid FROM pg_database WHERE datname = current_database())
$$
"""

# pg_control_checkpoint() lags after a promotion; the name of the present WAL file does not.
SERVER_IDENTITY = """
CREATE FUNCTION server_identity() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT identity_of(left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))
$$
"""

# NULL where no server feeds it, or where it is no replica at all.
REPLICA_IDENTITY = """
CREATE FUNCTION replica_identity() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT identity_of(lpad(upper(to_hex(r.received_tli)), 8, '0'))
    FROM pg_stat_wal_receiver r WHERE pg_is_in_recovery()
$$
"""


def upgrade() -> None:
    op.create_table(
        "epoch_base",
        sa.Column("value", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("value", name="pk_epoch_base"),
    )
    op.execute("INSERT INTO epoch_base VALUES (0)")
    op.create_table(
        "unstamped_writes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_unstamped_writes"),
    )
    op.execute("GRANT INSERT ON unstamped_writes TO campshub_app")
    op.execute("GRANT SELECT ON epoch_base, unstamped_writes TO campshub_definer, campshub_readonly")
    op.execute("GRANT SELECT, UPDATE ON epoch_base TO campshub_system")
    op.execute("GRANT SELECT, INSERT, DELETE ON unstamped_writes TO campshub_system")
    ddl.definer_function("freshness_epoch()", EPOCH)
    for name, text in (
        ("identity_of(text)", IDENTITY_OF),
        ("server_identity()", SERVER_IDENTITY),
        ("replica_identity()", REPLICA_IDENTITY),
    ):
        op.execute(text)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO campshub_app, campshub_system")


def downgrade() -> None:
    for name in ("replica_identity()", "server_identity()", "identity_of(text)", "freshness_epoch()"):
        op.execute(f"DROP FUNCTION {name}")
    op.drop_table("unstamped_writes")
    op.drop_table("epoch_base")
