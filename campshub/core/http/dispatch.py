"""The edge: who asks, what for, may they, one unit of work, one answer; in this order for every request."""

import time
from typing import Any

from flask import Response, after_this_request, current_app, g, request
from sqlalchemy.exc import DBAPIError

from campshub.core.db import unit_of_work
from campshub.core.db.session import Entered, Unit, begin
from campshub.core.errors import (
    Forbidden,
    KeyInFlight,
    KeyReused,
    MonthUnavailable,
    Problem,
    Unauthenticated,
    Unavailable,
)
from campshub.core.http import idempotency, lookup, read_routing, responses
from campshub.core.http import responses as conditional
from campshub.core.http.context import Call, ResourceState
from campshub.core.http.endpoint import Handler
from campshub.core.http.services import HttpServices
from campshub.core.jobs import month_requests
from campshub.core.security import events
from campshub.core.security.api_keys import KIND
from campshub.core.security.events import Kind
from campshub.core.security.tokens import BadToken, Claims

_BEARER = "bearer "
# Why the front could not answer what it had begun to read.
FAILED = "campshub.failed"
# No commit begins later after the request began, since nginx waits little longer: a client that was answered 504 must
# not find later that its change was made. docs/operations.md has all time-outs in one table.
COMMIT_WITHIN_S = 14.0
UNVERIFIED = ("Campshub-Freshness", "unverified")


def answer(resource: ResourceState, handler: Handler, path: dict[str, Any]) -> Response:
    """Answer one request with its handler."""
    services: HttpServices = current_app.extensions["campshub"]
    if handler.mark.deprecation is not None:
        headers = handler.mark.deprecation.headers()
        after_this_request(lambda sent: sent.headers.extend(headers) or sent)
    claims = _claims(services, handler)
    failure: Exception | None = request.environ.pop(FAILED, None)
    if failure is not None and claims is not None:
        lookup.count(services, claims)
        raise failure
    resource.now, resource.services = g.now, services
    unit = Unit(
        engine=services.engines["system" if handler.mark.is_system else None],
        read_only=handler.reads,
        organization_id=claims.organization_id if claims else None,
        user_id=claims.user_id if claims else None,
        api_key_id=claims.api_key_id if claims else None,
        now=g.now,
        trace_id=g.trace_id,
        address=request.remote_addr,
    )
    call = Call(services, resource, handler, claims, unit, request.path, request.query_string, path)
    try:
        return _read(call) if handler.reads else _write(call)
    except Forbidden as refusal:
        if type(refusal) is Forbidden:  # the others say what is to be done first
            unit.apart.append(lambda apart: events.happened(apart, Kind.PERMISSION_DENIED, unit.user_id))
        raise
    except (DBAPIError, MonthUnavailable) as error:
        unavailable = month_requests.refusal(services.settings, unit, error)
        if unavailable is None:
            raise
        raise unavailable from error
    finally:
        unit_of_work.run_apart(unit)


def _claims(services: HttpServices, handler: Handler) -> Claims | None:
    """Return what the access token says; None where everyone may ask.

    :raises Unauthenticated: there is none, or it is not valid.
    """
    if handler.mark.is_public:
        return None
    header = request.headers.get("Authorization", "")
    if header[: len(_BEARER)].lower() != _BEARER:
        raise Unauthenticated
    token = header[len(_BEARER) :].strip()
    claims = services.tokens.remembered(token) or _read_token(services, token)
    g.user_id, g.organization_id, g.api_key_id = claims.user_id, claims.organization_id, claims.api_key_id
    return claims


def _read_token(services: HttpServices, token: str) -> Claims:
    """Return what a token or key says that this process has not seen before.

    :raises BadToken: it is not genuine, or does not hold.
    :raises RateLimited: it is no key of ours, and too many such have come from the address.
    """
    if not token.startswith(KIND):
        return services.tokens.read(token)
    try:
        return services.api_keys.read(token, services.engines[None])
    except BadToken:
        services.declared.count_stranger()
        raise


def _parse(call: Call) -> None:
    """Parse the parameters and the body; count the request in the handler's own limits.

    :raises RateLimited: one is used up.
    """
    call.arguments = call.handler.arguments(request)
    call.given = {**call.path, **call.handler.body(request)}
    if call.handler.mark.limits:
        call.services.declared.count_marked(call.handler.mark, call.given)
    call.resource.if_match = conditional.expected_versions(request.headers.get("If-Match"))


def _read(call: Call) -> Response:
    """Answer with what is kept, or read it."""
    try:
        _parse(call)
    except Problem:
        _count(call)  # what cannot be read is counted all the same
        raise
    known = lookup.ask(call)
    if known.caller is not None:
        call.admit(known.caller.state)
    finished = read_routing.find(call, known)
    if known.caller is not None and request.url_rule is not None:
        call.services.addresses.learn(request.environ, call.parsed(request.url_rule.rule))
    sent = responses.respond(call.handler, finished)
    if known.asked.is_unverified:
        sent.headers.add(*UNVERIFIED)
    return sent


def _count(call: Call) -> None:
    if call.claims is not None:
        lookup.count(call.services, call.claims)


def _write(call: Call) -> Response:
    """Write on the primary; effect, audit, outbox and the kept answer in one transaction."""
    unit = call.unit
    _count(call)
    _parse(call)
    print_ = _claim_key(call.services, call.handler, unit)
    session = begin(unit)
    try:
        call.admit(unit.entered)
        if print_ is not None and unit.entered is not None:
            replay = _earlier(unit.entered, print_)
            if replay is not None:
                return replay
        result = call.run(session)
        session.flush()
        finished = responses.finish(call, result)
        made = responses.respond(call.handler, finished)
        if print_ is not None:
            unit.answer = idempotency.kept(made.status_code, responses.worth_keeping(made), made.get_data(), print_)
        if time.perf_counter() - g.started > COMMIT_WITHIN_S:
            raise Unavailable("The request took too long; nothing has been changed.")
        unit_of_work.complete(session, call.services)
    finally:
        session.close()
    return made


def _claim_key(services: HttpServices, handler: Handler, unit: Unit) -> str | None:
    """Take the request's Idempotency-Key into the unit; return the request's fingerprint, None without a key."""
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method != "POST" or handler.mark.is_secret or unit.user_id is None:
        return None
    caller = unit.api_key_id or unit.user_id
    unit.idempotency_key = idempotency.key_id(key, user_id=caller, method=request.method, path=request.path)
    return idempotency.fingerprint(request.get_data(cache=True), request.query_string, key=services.print_key)


def _earlier(entered: Entered, print_: str) -> Response | None:
    """Return the answer that this key was given before.

    :raises KeyInFlight: another request with the key is at work.
    :raises KeyReused: it was given to another request.
    """
    if not entered.key_is_free:
        raise KeyInFlight(headers={"Retry-After": "1"})
    kept = entered.answer
    if kept is None:
        return None
    if kept["fingerprint"] != print_:
        raise KeyReused
    headers = {**kept["headers"], "Idempotent-Replayed": "true"}
    return Response(idempotency.body_of(kept), status=kept["status"], headers=headers)
