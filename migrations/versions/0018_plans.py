"""How much an organization's plan allows each of its callers.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

PLAN = "requests_per_hour BETWEEN 1 AND 9999999"
API_KEYS_OF = """
CREATE FUNCTION api_keys_of(wanted_prefix text)
  RETURNS TABLE (organization_id uuid, id uuid, user_id uuid, secret_hash bytea, expires_at timestamptz{column})
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT k.organization_id, k.id, k.user_id, k.secret_hash, k.expires_at{value}
    FROM api_keys k JOIN organizations o ON o.id = k.organization_id
   WHERE k.prefix = wanted_prefix AND k.revoked_at IS NULL AND k.expires_at > now()
$$
"""


def api_keys_of(column: str = "", value: str = "") -> None:
    op.execute("DROP FUNCTION api_keys_of(text)")
    ddl.definer_function("api_keys_of(text)", API_KEYS_OF.format(column=column, value=value))


def upgrade() -> None:
    op.add_column("organizations", sa.Column("requests_per_hour", sa.Integer(), nullable=True))
    op.create_check_constraint(op.f("ck_organizations_requests_per_hour"), "organizations", PLAN)
    api_keys_of(", requests_per_hour int", ", o.requests_per_hour")


def downgrade() -> None:
    api_keys_of()
    op.drop_constraint(op.f("ck_organizations_requests_per_hour"), "organizations")
    op.drop_column("organizations", "requests_per_hour")
