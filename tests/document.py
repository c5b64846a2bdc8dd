"""Build the application's OpenAPI document without a stack, for the names of tests and for linters."""

import base64
from typing import Any

from campshub.app import create_app
from campshub.config import load_settings

"""Return the document of an application that has no connections."""


def openapi_document() -> dict[str, Any]:
    """Return the document of an application that is connected to nothing."""
    key = "a:" + base64.urlsafe_b64encode(bytes(32)).decode()
    nowhere = load_settings(
        postgres_port=1,
        postgres_password="x",
        postgres_system_password="x",
        postgres_replica_host="",
        secret_key="not the real one",
        jwt_private_keys=key,
        field_encryption_keys=key,
        log_level="WARNING",
        debug=True,  # to accept requests without TLS
    )
    document: dict[str, Any] = create_app(nowhere).test_client().get("/api/openapi.json").get_json()
    return document
