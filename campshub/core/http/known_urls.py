"""Known URLs: the parsed requests that this process has served recently."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from campshub.core.http.endpoint import Arguments, Endpoint

MOST = 20_000


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A URL with its endpoint, its parsed parameters and its digest for the key of the cached response."""

    endpoint: Endpoint
    resource: Callable[[], Any]
    route: str
    path: str
    query_string: bytes
    path_parameters: Mapping[str, Any]
    arguments: Arguments
    digest: str


class RequestCache:
    """The known URLs, by path and query string; the fast path looks them up."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], ParsedRequest] = {}

    def get(self, environ: Mapping[str, Any]) -> ParsedRequest | None:
        """Return the parsed request for a URL, or None."""
        return self._known.get(_url_of(environ))

    def learn(self, environ: Mapping[str, Any], parsed_request: ParsedRequest) -> None:
        """Store a parsed request, unless its endpoint needs more than the fast path does.

        Those are system endpoints, endpoints with limits of their own, deprecated ones, which add headers, and files.
        """
        options = parsed_request.endpoint.options
        if options.is_system or options.limits or options.deprecation is not None or options.media_types:
            return
        if len(self._known) >= MOST:
            self._known.clear()  # a client sends ever new URLs; the common ones return soon
        self._known[_url_of(environ)] = parsed_request

    def __len__(self) -> int:
        return len(self._known)


def _url_of(environ: Mapping[str, Any]) -> tuple[str, str]:
    return environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
