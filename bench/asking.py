"""Asking an API for what must succeed: to prepare a benchmark, and to see what is there."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 60
SHOWN = 300  # of a refusal, so many characters


@dataclass(frozen=True)
class Asker:
    """Someone who asks a server, signed in or not."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """Ask once, on a connection of its own; return the body.

        :raises RuntimeError: it was refused.
        """
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE_S)
        try:
            told = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, None if body is None else json.dumps(body), {**self.headers, **told})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:SHOWN]!r}")
        return content

    def get(self, path: str) -> Any:
        """Read something."""
        return json.loads(self.ask("GET", path))

    def post(self, path: str, body: Any) -> Any:
        """Create something."""
        return json.loads(self.ask("POST", path, body))

    def put(self, path: str, body: Any) -> Any:
        """Put something in its place."""
        return json.loads(self.ask("PUT", path, body))
