"""The dispatcher: authenticate, parse, authorize, run in one unit of work, respond; in this order for every request."""

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
    NotFound,
    Problem,
    Unauthenticated,
    Unavailable,
)
from campshub.core.http import idempotency, lookup, read_routing, responses
from campshub.core.http.context import RequestContext, ResourceState
from campshub.core.http.endpoint import Endpoint
from campshub.core.http.services import HttpServices
from campshub.core.jobs import month_requests
from campshub.core.security import events
from campshub.core.security.api_keys import KIND
from campshub.core.security.events import SecurityEventKind
from campshub.core.security.tokens import BadToken, Claims

_BEARER = "bearer "
# The error that stopped the fast path; the dispatcher raises it.
FAILED = "campshub.failed"
# A commit must begin within this time after the start of the request. nginx waits only a little longer, and a client
# that received 504 must not find later that its change was made. docs/operations.md has a table of all time-outs.
COMMIT_WITHIN_S = 14.0
UNVERIFIED = ("Campshub-Freshness", "unverified")


def handle_request(resource: ResourceState, endpoint: Endpoint, path_parameters: dict[str, Any]) -> Response:
    """Handle one request to an endpoint; return the response."""
    services: HttpServices = current_app.extensions["campshub"]
    if endpoint.options.deprecation is not None:
        headers = endpoint.options.deprecation.headers()
        after_this_request(lambda response: response.headers.extend(headers) or response)
    claims = _claims(services, endpoint)
    failure: Exception | None = request.environ.pop(FAILED, None)
    if failure is not None and claims is not None:
        lookup.count(services, claims)  # by the lookup of the fast path, which has counted the request
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
    context = RequestContext(
        services, resource, endpoint, claims, unit, request.path, request.query_string, path_parameters
    )
    try:
        return _read(context) if endpoint.reads else _write(context)
    except Forbidden as refusal:
        if type(refusal) is Forbidden:  # its subclasses have other reasons, such as a missing second factor
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
    """Return the claims of the access token or API key; None for a public endpoint.

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
    """Verify a token or API key that this process has not seen before; return its claims.

    :raises BadToken: it is not genuine, or no longer valid.
    :raises RateLimited: the key is unknown, and the client's IP address has sent too many of them.
    """
    if not token.startswith(KIND):
        return services.tokens.read(token)
    try:
        return services.api_keys.read(token, services.engines[None])
    except BadToken:
        services.endpoint_limits.count_anonymous()
        raise


def _parse(context: RequestContext) -> None:
    """Parse the parameters and the body; count the request against the endpoint's own limits.

    :raises RateLimited: one of them is used up.
    :raises NotFound: a parameter of the path is not UTF-8; another one would be replaced by the same text.
    """
    if any("\ufffd" in str(value) for value in context.path_parameters.values()):
        raise NotFound("The URL is not encoded in UTF-8.")
    context.arguments = context.endpoint.arguments(request)
    context.parameters = {**context.path_parameters, **context.endpoint.body(request)}
    if context.endpoint.options.limits:
        context.services.endpoint_limits.count_endpoint(context.endpoint.options, context.parameters)
    context.resource.if_match = responses.expected_versions(request.headers.get("If-Match"))


def _read(context: RequestContext) -> Response:
    """Parse, look up, authorize; then send the cached response, or run the endpoint on a server that has the stamps."""
    try:
        _parse(context)
    except Problem:
        _count(context)  # malformed requests count, too
        raise
    found = lookup.look_up(context)
    if found.caller is not None:
        context.authorize(found.caller.state)
    rendered = found.cached or read_routing.render(context, found)
    if found.caller is not None and request.url_rule is not None:
        context.services.request_cache.learn(request.environ, context.parsed(request.url_rule.rule))
    response = responses.respond(context.endpoint, rendered)
    if found.reply.is_unverified:
        response.headers.add(*UNVERIFIED)
    return response


def _count(context: RequestContext) -> None:
    if context.claims is not None:
        lookup.count(context.services, context.claims)


def _write(context: RequestContext) -> Response:
    """Write on the primary: effect, audit, outbox and stored response in one transaction."""
    unit = context.unit
    _count(context)
    _parse(context)
    body_fingerprint = _set_idempotency_key(context.services, context.endpoint, unit)
    session = begin(unit)
    try:
        context.authorize(unit.caller_row)
        if body_fingerprint is not None and unit.caller_row is not None:
            replay = _stored_response(unit.caller_row, body_fingerprint)
            if replay is not None:
                return replay
        result = context.run(session)
        session.flush()
        response = responses.respond(context.endpoint, responses.render(context, result))
        if body_fingerprint is not None:
            unit.response_to_store = idempotency.stored_form(
                response.status_code, responses.replayable_headers(response), response.get_data(), body_fingerprint
            )
        if time.perf_counter() - g.started > COMMIT_WITHIN_S:
            raise Unavailable("The request timed out; nothing was changed.")
        unit_of_work.commit_with_effects(session, context.services)
    finally:
        session.close()
    return response


def _set_idempotency_key(services: HttpServices, endpoint: Endpoint, unit: Unit) -> str | None:
    """Set the Idempotency-Key of the unit of work; return the request's fingerprint, or None without a key."""
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method != "POST" or endpoint.options.is_secret or unit.user_id is None:
        return None
    caller = unit.api_key_id or unit.user_id
    unit.idempotency_key = idempotency.key_id(key, user_id=caller, method=request.method, path=request.path)
    return idempotency.fingerprint(request.get_data(cache=True), request.query_string, key=services.fingerprint_key)


def _stored_response(caller_row: CallerRow, body_fingerprint: str) -> Response | None:
    """Return the response that is stored under the Idempotency-Key, or None.

    :raises KeyInFlight: another request with the key is in progress.
    :raises KeyReused: the key belongs to a different request.
    """
    if not caller_row.key_is_free:
        raise KeyInFlight(headers={"Retry-After": "1"})
    stored = caller_row.stored_response
    if stored is None:
        return None
    if stored["fingerprint"] != body_fingerprint:
        raise KeyReused
    headers = {**stored["headers"], "Idempotent-Replayed": "true"}
    return Response(idempotency.body_of(stored), status=stored["status"], headers=headers)
