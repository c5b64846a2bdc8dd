"""An HTTP client for the API whose requests must succeed: to prepare a benchmark, and to look up existing data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from devstack.http_client import new_client

SHOWN = 300  # characters of an error response that are shown


@dataclass(frozen=True)
class ApiClient:
    """A client of one server, signed in or not."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, body: Any = None) -> bytes:
        """Send one request on a new connection; return the body.

        :raises RuntimeError: the status is neither 200 nor 201.
        """
        with new_client(self.url, headers=self.headers) as client:
            response = client.request(method, path, json=body)
        if response.status_code not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.content[:SHOWN]!r}")
        return response.content

    def get(self, path: str) -> Any:
        """Read a resource."""
        return json.loads(self.send("GET", path))

    def post(self, path: str, body: Any) -> Any:
        """Create a resource."""
        return json.loads(self.send("POST", path, body))

    def put(self, path: str, body: Any) -> Any:
        """Replace a resource."""
        return json.loads(self.send("PUT", path, body))
