"""The stack's own secrets, created at random once and stored in ``secrets.json``."""

import base64
import secrets

from devstack.workspace import Workspace

SUPERUSER = "postgres"
LOGINS = ("app", "migrator", "system", "maintenance", "readonly", "replicator")


def load(workspace: Workspace) -> dict[str, str]:
    """Return the secrets by name; create missing ones.

    A role's password has the role's short name (``app``, ``migrator``), the superuser's has the name ``postgres``.
    """
    with workspace.lock("secrets"):
        stored = workspace.read_json("secrets.json")
        created = {name: value() for name, value in _MAKERS.items() if name not in stored}
        if created:
            stored |= created
            workspace.write_json("secrets.json", stored)
    return {name: str(value) for name, value in stored.items()}


def role(name: str) -> str:
    """Return a role's full name."""
    return f"campshub_{name}"


def _password() -> str:
    return secrets.token_urlsafe(24)


def _ring() -> str:
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return f"dev-{secrets.token_hex(3)}:{key}"


_MAKERS = {
    **dict.fromkeys((SUPERUSER, *LOGINS, "redis", "broker"), _password),
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "JWT_PRIVATE_KEYS": _ring,
    "FIELD_ENCRYPTION_KEYS": _ring,
}
