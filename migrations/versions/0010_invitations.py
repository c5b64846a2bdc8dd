"""Invitations, and users made by an organization's admins.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# The one user of an e-mail address: made, with a password, where there is none yet.
ADD_USER = """
CREATE FUNCTION add_user(new_id uuid, new_email text, new_email_key text, new_name text, hashed text,
  OUT user_id uuid, OUT made boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  INSERT INTO users (id, email, email_key, name) VALUES (new_id, new_email, new_email_key, new_name)
    ON CONFLICT (email_key) DO NOTHING RETURNING id INTO user_id;
  made := user_id IS NOT NULL;
  IF made THEN
    INSERT INTO user_credentials (user_id, password_hash, changed_at) VALUES (new_id, hashed, now());
  ELSE
    SELECT u.id INTO user_id FROM users u WHERE u.email_key = new_email_key;
  END IF;
END $$
"""
SIGNATURE = "add_user(uuid, text, text, text, text)"


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "invitations",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("invited_by", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", instant, nullable=False),
        sa.Column("accepted_at", instant, nullable=True),
        sa.Column("revoked_at", instant, nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", instant, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", instant, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(
            "role IN ('superadmin', 'admin', 'trainer', 'nutritionist', 'client')", name=op.f("ck_invitations_role")
        ),
        sa.CheckConstraint("(accepted_at IS NULL) = (user_id IS NULL)", name=op.f("ck_invitations_accepted_by")),
        sa.ForeignKeyConstraint(["invited_by"], ["users.id"], name=op.f("fk_invitations_invited_by")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_invitations_user_id")),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_invitations")),
    )
    op.create_index(op.f("ix_invitations_invited_by"), "invitations", ["invited_by"])
    op.create_index(op.f("ix_invitations_user_id"), "invitations", ["user_id"])
    ddl.tenant_table("invitations")
    op.execute("GRANT INSERT ON users TO campshub_definer")
    ddl.definer_function(SIGNATURE, ADD_USER)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {SIGNATURE}")
    op.execute("REVOKE INSERT ON users FROM campshub_definer")
    op.drop_table("invitations")
