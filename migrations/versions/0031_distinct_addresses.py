"""Addresses are compared in lower case. Case folding made one address of two: ß became ss, and ς became σ.

Where the key of an address belongs to another user, or to another open invitation, the row keeps the key that it had.

Revision ID: 0031
Revises: 0030
"""

import unicodedata
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

# By table: the row that another row must not share a key with.
IN_USE = {
    "users": "SELECT FROM users o WHERE o.email_key = :key",
    "invitations": (
        "SELECT FROM invitations o WHERE o.organization_id = r.organization_id AND o.email_key = :key"
        " AND o.accepted_at IS NULL AND o.revoked_at IS NULL"
    ),
}


def lower(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text.strip()).lower())


def folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text.strip()).casefold())


def make_keys(key_of: Callable[[str], str]) -> None:
    """Make the keys again of the addresses that have other letters than those of ASCII."""
    connection = op.get_bind()
    op.execute("SET ROLE campshub_backfill")  # policies bind the owner
    for table, in_use in IN_USE.items():
        found = connection.execute(sa.text(f"SELECT DISTINCT email FROM {table} WHERE email ~ '[^[:ascii:]]'"))
        keys = [{"email": email, "key": key_of(email)} for email in found.scalars().all()]
        if keys:
            change = f"UPDATE {table} r SET email_key = :key WHERE r.email = :email AND NOT EXISTS ({in_use})"
            connection.execute(sa.text(change), keys)
    op.execute("SET ROLE campshub_owner")


def upgrade() -> None:
    make_keys(lower)


def downgrade() -> None:
    make_keys(folded)
