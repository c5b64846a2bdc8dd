"""The organizations that a user belongs to in whatever state: each lists them, so each is told of a change.

Revision ID: 0012
Revises: 0011
"""

from alembic import op
from migrations import ddl

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

ORGANIZATIONS_OF = """
CREATE FUNCTION organizations_of(person uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT organization_id FROM memberships WHERE user_id = person ORDER BY organization_id
$$
"""


def upgrade() -> None:
    ddl.definer_function("organizations_of(uuid)", ORGANIZATIONS_OF)


def downgrade() -> None:
    op.execute("DROP FUNCTION organizations_of(uuid)")
