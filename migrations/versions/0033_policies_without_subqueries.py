"""Policies compare with the setting itself instead of with a subselect of it.

Policies with subqueries are refused where tables are distributed by organization. Two kinds keep theirs: the policy of
users, which reads their memberships, and those that show the platform's rows, which are joined row by row.

Each policy is changed in a transaction of its own, because it locks its table against everyone for a moment. If a lock
is not free in time, run the migration again: it changes the policies that are left.

Revision ID: 0033
Revises: 0032
"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

# PostgreSQL's own text of both forms.
SETTING = "id = (NULLIF(current_setting('app.organization_id'::text, true), ''::text))::uuid"
SELECTED = "id = ( SELECT (NULLIF(current_setting('app.organization_id'::text, true), ''::text))::uuid AS \"nullif\")"
POLICIES = sa.text(
    "SELECT tablename, policyname, qual, with_check FROM pg_policies WHERE schemaname = 'public' ORDER BY 1, 2"
)


def rewrite(old: str, new: str) -> None:
    with op.get_context().autocommit_block():
        for table, policy, *conditions in op.get_bind().execute(POLICIES).all():
            found = zip(("USING", "WITH CHECK"), conditions, strict=True)
            clauses = [f"{clause} ({text.replace(old, new)})" for clause, text in found if text and old in text]
            if clauses:
                op.execute(f"ALTER POLICY {policy} ON {table} {' '.join(clauses)}")


def upgrade() -> None:
    rewrite(SELECTED, SETTING)


def downgrade() -> None:
    rewrite(SETTING, SELECTED)
