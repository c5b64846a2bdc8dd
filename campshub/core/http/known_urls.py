"""The addresses that a process has answered lately: what Flask and the edge found out of each, once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from campshub.core.http.endpoint import Arguments, Endpoint

MOST = 20_000


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A path with its parameters: which handler reads it, with what, and what stands for it in an answer's key."""

    endpoint: Endpoint
    resource: Callable[[], Any]
    route: str
    path: str
    query_string: bytes
    given: Mapping[str, Any]
    arguments: Arguments
    digest: str


class RequestCache:
    """The addresses that are known, by the bytes of the request; ``front`` looks them up."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], ParsedRequest] = {}

    def get(self, environ: Mapping[str, Any]) -> ParsedRequest | None:
        """Return what is known of a request's address."""
        return self._known.get(_bytes_of(environ))

    def learn(self, environ: Mapping[str, Any], address: ParsedRequest) -> None:
        """Remember an address, unless its handler says more of its requests than who may send them.

        A deprecated handler's responses carry headers of its own, which ``front`` does not add.
        """
        options = address.endpoint.options
        if options.is_system or options.limits or options.deprecation is not None:
            return
        if len(self._known) >= MOST:
            self._known.clear()  # someone asks for ever new ones; the common ones are soon back
        self._known[_bytes_of(environ)] = address

    def __len__(self) -> int:
        return len(self._known)


def _bytes_of(environ: Mapping[str, Any]) -> tuple[str, str]:
    return environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
