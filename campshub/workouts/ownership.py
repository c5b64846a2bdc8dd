"""Row ownership by id: the platform reserves a range of ids for the rows that all organizations share.

The range is the UUIDs of version 7 with a timestamp of zero, which no clock makes and a CHECK refuses to organizations.
So the id alone shows the owner, and an organization's row cannot have the id of a shared one.
"""

import hashlib
import uuid

from campshub.core.db.models import PLATFORM_ID

FIRST_OWN_ID = uuid.UUID(int=1 << 80)
RESERVED_IDS = f"(organization_id = '{PLATFORM_ID}') = (id < '{FIRST_OWN_ID}')"


def platform_id(table: str, key: str) -> uuid.UUID:
    """Return the id of a shared row: the same in every installation and every release."""
    tail = hashlib.sha256(f"{table}:{key}".encode()).digest()
    return uuid.UUID(int=(7 << 76) | (2 << 62) | int.from_bytes(tail[:8]) >> 2)


def owner_of(row_id: uuid.UUID, organization_id: uuid.UUID) -> uuid.UUID:
    """Return the owner of a row to which an organization refers: the platform or the organization itself."""
    return PLATFORM_ID if row_id < FIRST_OWN_ID else organization_id
