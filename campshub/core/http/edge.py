"""The edge: who asks, what for, may they, one unit of work, one answer; in this order for every request."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Response, current_app, g, request
from sqlalchemy.exc import DBAPIError

from campshub.core.db import replicas, work
from campshub.core.db.session import Entered, Session, Unit, begin, commit, db
from campshub.core.http import answers, conditional, idempotency, pagination
from campshub.core.http.handler import Arguments, Handler
from campshub.core.http.problems import Forbidden, KeyInFlight, KeyReused, Unauthenticated
from campshub.core.observe import metrics
from campshub.core.platform import Platform
from campshub.core.security.permissions import Role
from campshub.core.security.principal import Principal
from campshub.core.security.tokens import Claims

if TYPE_CHECKING:
    from campshub.core.http.resource import Resource

_BEARER = "bearer "


class SessionEnded(Unauthenticated):
    """This session has ended; sign in again."""

    code = "session_ended"


class OrganizationSuspended(Forbidden):
    """This organization is not active."""

    code = "organization_suspended"


@dataclass
class Call:
    """One request on its way to its handler."""

    platform: Platform
    resource: "Resource"
    handler: Handler
    claims: Claims | None
    arguments: Arguments
    given: dict[str, Any]
    unit: Unit


def answer(resource: "Resource", handler: Handler, path: dict[str, Any]) -> Response:
    """Answer one request with its handler."""
    platform: Platform = current_app.extensions["campshub"]
    claims = _claims(platform, handler)
    arguments = handler.arguments(request)
    given = path | handler.body(request)
    if handler.mark.limits:
        platform.declared.count_marked(handler.mark, given)
    resource.now, resource.platform = g.now, platform
    resource.if_match = conditional.expected_version(request.headers.get("If-Match"))
    unit = Unit(
        engine=db.engines["system" if handler.mark.is_system else None],
        read_only=handler.reads,
        organization_id=claims.organization_id if claims else None,
        user_id=claims.user_id if claims else None,
        now=g.now,
        trace_id=g.trace_id,
        address=request.remote_addr,
    )
    call = Call(platform, resource, handler, claims, arguments, given, unit)
    try:
        return _read(call) if handler.reads else _write(call)
    finally:
        work.run_apart(unit)


def _claims(platform: Platform, handler: Handler) -> Claims | None:
    """Return what the access token says; None where everyone may ask.

    :raises Unauthenticated: there is none, or it is not valid.
    """
    if handler.mark.is_public:
        return None
    header = request.headers.get("Authorization", "")
    if header[: len(_BEARER)].lower() != _BEARER:
        raise Unauthenticated
    claims = platform.tokens.read(header[len(_BEARER) :].strip())
    g.user_id, g.organization_id = claims.user_id, claims.organization_id
    return claims


def _read(call: Call) -> Response:
    """Read on a replica that has what is needed, else on the primary."""
    unit = replicas.choose(call.platform.freshness, call.unit)
    if unit is not None:
        try:
            made = _read_from(call, unit)
        except replicas.Behind:
            replicas.answered(unit)
        except DBAPIError as error:
            if not replicas.failed(unit, error):
                raise
            call.unit.apart.clear()  # the handler will hand it over again
        else:
            replicas.answered(unit)
            return made
    return _read_from(call, call.unit)


def _read_from(call: Call, unit: Unit) -> Response:
    session = begin(unit)
    try:
        if unit.entered is not None and not unit.entered.fresh:
            raise replicas.Behind
        _admit(call, session)
        result = call.handler.function(call.resource, **call.given, **call.arguments.filters, **_page(call))
        position = commit(session)
    finally:
        session.close()
    metrics.reads.labels(unit.server).inc()
    if position is not None and unit.organization_id is not None:
        call.platform.freshness.offer(unit.organization_id, position)
    return _made(call, result)


def _write(call: Call) -> Response:
    """Write on the primary; effect, audit, outbox and the kept answer in one transaction."""
    unit = call.unit
    print_ = _claim_key(call.handler, unit)
    session = begin(unit)
    try:
        _admit(call, session)
        if print_ is not None and unit.entered is not None:
            replay = _earlier(unit.entered, print_)
            if replay is not None:
                return replay
        result = call.handler.function(call.resource, **call.given, **call.arguments.filters)
        session.flush()
        made = _made(call, result)
        if print_ is not None:
            unit.answer = idempotency.kept(made.status_code, answers.worth_keeping(made), made.get_data(), print_)
        work.complete(session, call.platform)
    finally:
        session.close()
    return made


def _claim_key(handler: Handler, unit: Unit) -> str | None:
    """Take the request's Idempotency-Key into the unit; return the request's fingerprint, None without a key."""
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method != "POST" or handler.mark.is_secret or unit.user_id is None:
        return None
    unit.idempotency_key = idempotency.key_id(key, user_id=unit.user_id, method=request.method, path=request.path)
    return idempotency.fingerprint(request.get_data(cache=True), request.query_string)


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


def _admit(call: Call, session: Session) -> None:
    """Set the resource up for its handler, or refuse whoever asks.

    :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
    :raises Forbidden: the role does not have the permission.
    """
    call.resource.session = session
    claims, entered, permission = call.claims, session.unit.entered, call.handler.mark.permission
    if claims is None:
        return
    if entered is None or entered.role is None or entered.session_version != claims.session_version:
        raise SessionEnded
    if entered.organization_status != "active":
        raise OrganizationSuspended
    call.resource.principal = Principal(
        user_id=claims.user_id,
        organization_id=claims.organization_id,
        role=Role(entered.role),
        time_zone=entered.time_zone or "UTC",
        session_id=claims.session_id,
    )
    if permission is not None and not call.resource.principal.may(permission):
        raise Forbidden


def _page(call: Call) -> dict[str, Any]:
    """Return the page that is asked for, bound to what its cursor must have been made for."""
    if call.arguments.page is None:
        return {}
    bound_to = {
        "address": request.path,
        "organization": call.unit.organization_id,
        "path": call.given,
        "filters": call.arguments.filters,
    }
    secret = call.platform.settings.secret_key
    return {
        "page": pagination.page_request(
            **call.arguments.page, only=call.arguments.only, bound_to=bound_to, secret=secret
        )
    }


def _made(call: Call, result: Any) -> Response:
    return answers.make(call.handler, result, call.arguments.only)
