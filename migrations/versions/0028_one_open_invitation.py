"""One open invitation for an address; addresses are compared whatever their case and composition.

Revision ID: 0028
Revises: 0027
"""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

OPEN = "accepted_at IS NULL AND revoked_at IS NULL"


def email_key(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text.strip()).casefold())


def fill_invitations() -> None:
    """Write each invitation's key; of several open ones for an address the newest stays open."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT DISTINCT email FROM invitations")).scalars().all()
    if rows:
        connection.execute(
            sa.text("UPDATE invitations SET email_key = :key WHERE email = :email"),
            [{"email": email, "key": email_key(email)} for email in rows],
        )
    op.execute("UPDATE invitations SET sent_at = created_at")
    op.execute(
        "UPDATE invitations i SET revoked_at = now(), updated_at = now(), version = version + 1"
        " WHERE i.accepted_at IS NULL AND i.revoked_at IS NULL AND EXISTS ("
        "SELECT FROM invitations n WHERE n.organization_id = i.organization_id AND n.email_key = i.email_key"
        " AND n.accepted_at IS NULL AND n.revoked_at IS NULL AND n.id > i.id)"
    )


def compose_users() -> None:
    """Compare the addresses of users as all others; where two users would become one, both stay as they are."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, email, email_key FROM users")).all()
    present = {row.email_key for row in rows}
    for row in rows:
        key = email_key(row.email)
        if key != row.email_key and key not in present:
            present.add(key)
            connection.execute(sa.text("UPDATE users SET email_key = :key WHERE id = :id"), {"key": key, "id": row.id})


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.add_column("invitations", sa.Column("email_key", sa.Text(), nullable=True))
    op.add_column("invitations", sa.Column("letters", sa.Integer(), server_default="1", nullable=False))
    op.add_column("invitations", sa.Column("sent_at", instant, server_default=sa.func.now(), nullable=False))
    op.execute("SET ROLE campshub_backfill")  # policies bind the owner
    fill_invitations()
    compose_users()
    op.execute("SET ROLE campshub_owner")
    op.alter_column("invitations", "email_key", nullable=False)
    op.create_check_constraint(op.f("ck_invitations_letters"), "invitations", "letters > 0")
    op.create_index(
        "uq_invitations_open",
        "invitations",
        ["organization_id", "email_key"],
        unique=True,
        postgresql_where=sa.text(OPEN),
    )
    op.create_index(op.f("ix_invitations_email_key"), "invitations", ["organization_id", "email_key"])


def downgrade() -> None:
    op.drop_index(op.f("ix_invitations_email_key"), "invitations")
    op.drop_index("uq_invitations_open", "invitations")
    op.drop_constraint(op.f("ck_invitations_letters"), "invitations")
    op.drop_column("invitations", "sent_at")
    op.drop_column("invitations", "letters")
    op.drop_column("invitations", "email_key")
