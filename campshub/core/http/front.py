"""The front: what the edge has answered before is answered again before Flask begins, for as long as it is true.

Flask's contexts, routing and hooks cost more than all that a kept answer needs: a known token, one call to Redis
(``asking.first``: limits, the caller's state, the stamps and with them the answer) and the bytes. Whatever else is the
case (an unknown address or token, nothing kept, a refusal of any kind) is Flask's, and the edge goes on from what has
been asked here, so that nothing is asked or counted twice.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from campshub.core.http import answers, asking, chain
from campshub.core.http.asking import ASKED, Known
from campshub.core.http.call import admitted
from campshub.core.http.handler import Handler
from campshub.core.http.problems import Problem
from campshub.core.platform import Platform
from campshub.core.security.tokens import Claims

_BEARER = "Bearer "
# Whoever sends one of these wants more than the answer, or is refused.
_MORE = frozenset({"HTTP_IF_MATCH", "HTTP_ORIGIN"})
_STATUS = {200: "200 OK", 304: "304 NOT MODIFIED"}

Environ = dict[str, Any]


class Front:
    """How an application answers again."""

    def __init__(self, platform: Platform, hosts: frozenset[str] | None) -> None:
        self._platform = platform
        self._hosts = hosts

    def answer(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes] | None:
        """Answer a request with what is kept, if that is all there is to do."""
        if environ["REQUEST_METHOD"] != "GET" or environ["SCRIPT_NAME"]:
            return None
        address = self._platform.addresses.get(environ)
        if address is None or not _MORE.isdisjoint(environ) or not chain.is_ours(environ, self._hosts):
            return None
        claims = self._claims(environ.get("HTTP_AUTHORIZATION", ""))
        if claims is None:
            return None
        begun, now = time.perf_counter(), int(time.time())
        try:
            known = asking.first(self._platform, claims, address.handler, address.digest, now)
        except Exception:  # noqa: BLE001 - Flask meets it again, and has the words for it
            return None
        kept = known.kept
        if kept is None or not self._may_have(known, claims, address.handler):
            environ[ASKED], environ[chain.BEGUN] = known, begun
            return None
        address.handler.figures.asked(found=kept, held=known.held)
        limits = self._platform.limits.headers(self._platform.limits.standing(known.asked.standing))
        trace_id, request_id = chain.ids(environ)
        status, body, headers = answers.described(kept, environ.get("HTTP_IF_NONE_MATCH"))
        headers += (("X-Request-ID", request_id), *chain.STEADY, *limits)
        if body:
            headers.append(("Content-Length", str(len(body))))
        start_response(_STATUS[status], headers)
        who = {"trace_id": trace_id, "request_id": request_id} | _named(claims)
        chain.done("GET", address.route, status, begun, environ.get("REMOTE_ADDR"), who)
        return (body,)

    def _claims(self, header: str) -> Claims | None:
        if not header.startswith(_BEARER):
            return None
        return self._platform.tokens.remembered(header[len(_BEARER) :])

    def _may_have(self, known: Known, claims: Claims, handler: Handler) -> bool:
        """Tell whether the caller is within the limits and may have the answer; else the edge says why not."""
        standing = known.asked.standing
        if not standing or not self._platform.limits.standing(standing).allowed or known.caller is None:
            return False
        try:
            admitted(known.caller.entered(), claims, handler.mark.permission)
        except Problem:
            return False
        return True


def _named(claims: Claims) -> dict[str, str]:
    return {"user_id": claims.user, "organization_id": claims.organization}
