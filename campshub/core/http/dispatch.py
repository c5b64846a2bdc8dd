"""The edge: who asks, what for, may they, one unit of work, one answer; in this order for every request."""

import time
from typing import Any

from flask import Response, after_this_request, current_app, g, request
from sqlalchemy.exc import DBAPIError

from campshub.core.db import unit_of_work
from campshub.core.db.session import CallerRow, Unit, begin
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
from campshub.core.http.context import RequestContext, ResourceState
from campshub.core.http.endpoint import Endpoint
from campshub.core.http.services import HttpServices
from campshub.core.jobs import month_requests
from campshub.core.security import events
from campshub.core.security.api_keys import KIND
from campshub.core.security.events import SecurityEventKind
from campshub.core.security.tokens import BadToken, Claims

_BEARER = "bearer "
# Why the front could not answer what it had begun to read.
FAILED = "campshub.failed"
# No commit begins later after the request began, since nginx waits little longer: a client that was answered 504 must
# not find later that its change was made. docs/operations.md has all time-outs in one table.
COMMIT_WITHIN_S = 14.0
UNVERIFIED = ("Campshub-Freshness", "unverified")


def answer(resource: ResourceState, endpoint: Endpoint, path: dict[str, Any]) -> Response:
    """Answer one request with its handler."""
    services: HttpServices = current_app.extensions["campshub"]
    if endpoint.options.deprecation is not None:
        headers = endpoint.options.deprecation.headers()
        after_this_request(lambda sent: sent.headers.extend(headers) or sent)
    claims = _claims(services, endpoint)
    failure: Exception | None = request.environ.pop(FAILED, None)
    if failure is not None and claims is not None:
        lookup.count(services, claims)
        raise failure
    resource.now, resource.services = g.now, services
    unit = Unit(
        engine=services.engines["system" if endpoint.options.is_system else None],
        read_only=endpoint.reads,
        organization_id=claims.organization_id if claims else None,
        user_id=claims.user_id if claims else None,
        api_key_id=claims.api_key_id if claims else None,
        now=g.now,
        trace_id=g.trace_id,
        address=request.remote_addr,
    )
    context = RequestContext(services, resource, endpoint, claims, unit, request.path, request.query_string, path)
    try:
        return _read(context) if endpoint.reads else _write(context)
    except Forbidden as refusal:
        if type(refusal) is Forbidden:  # the others say what is to be done first
            unit.separate_writes.append(
                lambda session: events.record_event(session, SecurityEventKind.PERMISSION_DENIED, unit.user_id)
            )
        raise
    except (DBAPIError, MonthUnavailable) as error:
        unavailable = month_requests.refusal(services.settings, unit, error)
        if unavailable is None:
            raise
        raise unavailable from error
    finally:
        unit_of_work.run_separate_transactions(unit)


def _claims(services: HttpServices, endpoint: Endpoint) -> Claims | None:
    """Return what the access token says; None where everyone may ask.

    :raises Unauthenticated: there is none, or it is not valid.
    """
    if endpoint.options.is_public:
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
        services.endpoint_limits.count_anonymous()
        raise


def _parse(context: RequestContext) -> None:
    """Parse the parameters and the body; count the request in the handler's own limits.

    :raises RateLimited: one is used up.
    """
    context.arguments = context.endpoint.arguments(request)
    context.given = {**context.path, **context.endpoint.body(request)}
    if context.endpoint.options.limits:
        context.services.endpoint_limits.count_marked(context.endpoint.options, context.given)
    context.resource.if_match = conditional.expected_versions(request.headers.get("If-Match"))


def _read(context: RequestContext) -> Response:
    """Answer with what is kept, or read it."""
    try:
        _parse(context)
    except Problem:
        _count(context)  # what cannot be read is counted all the same
        raise
    known = lookup.ask(context)
    if known.caller is not None:
        context.admit(known.caller.state)
    finished = read_routing.find(context, known)
    if known.caller is not None and request.url_rule is not None:
        context.services.request_cache.learn(request.environ, context.parsed(request.url_rule.rule))
    sent = responses.respond(context.endpoint, finished)
    if known.asked.is_unverified:
        sent.headers.add(*UNVERIFIED)
    return sent


def _count(context: RequestContext) -> None:
    if context.claims is not None:
        lookup.count(context.services, context.claims)


def _write(context: RequestContext) -> Response:
    """Write on the primary; effect, audit, outbox and the kept answer in one transaction."""
    unit = context.unit
    _count(context)
    _parse(context)
    body_fingerprint = _claim_key(context.services, context.endpoint, unit)
    session = begin(unit)
    try:
        context.admit(unit.caller_row)
        if body_fingerprint is not None and unit.caller_row is not None:
            replay = _earlier(unit.caller_row, body_fingerprint)
            if replay is not None:
                return replay
        result = context.run(session)
        session.flush()
        finished = responses.finish(context, result)
        made = responses.respond(context.endpoint, finished)
        if body_fingerprint is not None:
            unit.answer = idempotency.cached(
                made.status_code, responses.replayable_headers(made), made.get_data(), body_fingerprint
            )
        if time.perf_counter() - g.started > COMMIT_WITHIN_S:
            raise Unavailable("The request took too long; nothing has been changed.")
        unit_of_work.commit_with_effects(session, context.services)
    finally:
        session.close()
    return made


def _claim_key(services: HttpServices, endpoint: Endpoint, unit: Unit) -> str | None:
    """Take the request's Idempotency-Key into the unit; return the request's fingerprint, None without a key."""
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method != "POST" or endpoint.options.is_secret or unit.user_id is None:
        return None
    caller = unit.api_key_id or unit.user_id
    unit.idempotency_key = idempotency.key_id(key, user_id=caller, method=request.method, path=request.path)
    return idempotency.fingerprint(request.get_data(cache=True), request.query_string, key=services.print_key)


def _earlier(caller_row: CallerRow, body_fingerprint: str) -> Response | None:
    """Return the answer that this key was given before.

    :raises KeyInFlight: another request with the key is at work.
    :raises KeyReused: it was given to another request.
    """
    if not caller_row.key_is_free:
        raise KeyInFlight(headers={"Retry-After": "1"})
    cached = caller_row.answer
    if cached is None:
        return None
    if cached["fingerprint"] != body_fingerprint:
        raise KeyReused
    headers = {**cached["headers"], "Idempotent-Replayed": "true"}
    return Response(idempotency.body_of(cached), status=cached["status"], headers=headers)
