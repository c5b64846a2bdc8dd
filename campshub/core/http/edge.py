"""The edge: who asks, what for, may they, one unit of work, one answer; in this order for every request."""

from typing import TYPE_CHECKING, Any

import psycopg
from flask import Response, current_app, g, request
from sqlalchemy.exc import OperationalError

from campshub.core.db import replicas, work
from campshub.core.db.session import Entered, Session, Unit, commit, db, open_session, reconnecting
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


def answer(resource: "Resource", handler: Handler, path: dict[str, Any]) -> Response:
    """Answer one request with its handler."""
    platform: Platform = current_app.extensions["campshub"]
    claims = _claims(platform, handler)
    arguments = handler.arguments(request)
    given = handler.body(request)
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
    call = path | given
    try:
        if handler.reads:
            return _read(platform, resource, handler, unit, claims, arguments, call)
        return _write(platform, resource, handler, unit, claims, arguments, call)
    finally:
        work.run_apart(unit, platform)


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


def _read(
    platform: Platform,
    resource: "Resource",
    handler: Handler,
    unit: Unit,
    claims: Claims | None,
    arguments: Arguments,
    call: dict[str, Any],
) -> Response:
    """Read on a replica that has what is needed, else on the primary."""
    server = replicas.choose(platform.freshness, unit)
    session = _begin_read(unit)
    if session.unit.entered is not None and not session.unit.entered.fresh:
        session.close()
        server = replicas.PRIMARY
        session = _begin_read(replicas.on_primary(unit))
    metrics.reads.labels(server).inc()
    try:
        _admit(resource, handler, session, claims)
        page = _page(platform, handler, arguments, resource, call)
        result = handler.function(resource, **call, **arguments.filters, **page)
        commit(session)
    finally:
        session.close()
        if session.unit is not unit:
            unit.apart = session.unit.apart
    return answers.make(handler, result, arguments.only, _visibility(resource, claims))


def _begin_read(unit: Unit) -> Session:
    """Open a session and its transaction; a dead connection is replaced once, a dead replica by the primary."""
    session = open_session(unit)
    try:
        session.connection()
    except OperationalError as error:
        session.close()
        if not _is_gone(error):
            raise
        reconnecting(unit.engine)
        session = open_session(replicas.on_primary(unit))
        session.connection()
    return session


def _is_gone(error: OperationalError) -> bool:
    """Tell a lost connection, or one that was never made, from a refusal of the server."""
    return isinstance(error.orig, psycopg.OperationalError) and error.orig.sqlstate in (None, "57P01", "57P02", "57P03")


def _write(
    platform: Platform,
    resource: "Resource",
    handler: Handler,
    unit: Unit,
    claims: Claims | None,
    arguments: Arguments,
    call: dict[str, Any],
) -> Response:
    """Write on the primary; effect, audit, outbox and the kept answer in one transaction."""
    print_ = _claim_key(handler, unit)
    session = _begin_write(unit)
    try:
        _admit(resource, handler, session, claims)
        if print_ is not None and unit.entered is not None:
            replay = _earlier(unit.entered, print_)
            if replay is not None:
                return replay
        result = handler.function(resource, **call, **arguments.filters)
        session.flush()
        made = answers.make(handler, result, arguments.only, _visibility(resource, claims))
        if print_ is not None:
            unit.answer = idempotency.kept(made.status_code, answers.worth_keeping(made), made.get_data(), print_)
        work.complete(session, platform)
    finally:
        session.close()
    return made


def _begin_write(unit: Unit) -> Session:
    """Open a session and its transaction; nothing has been written yet, so a dead connection may be replaced."""
    session = open_session(unit)
    try:
        session.connection()
    except OperationalError as error:
        session.close()
        if not _is_gone(error):
            raise
        reconnecting(unit.engine)
        session = open_session(unit)
        session.connection()
    return session


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


def _admit(resource: "Resource", handler: Handler, session: Session, claims: Claims | None) -> None:
    """Set the resource up for its handler, or refuse whoever asks.

    :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
    :raises Forbidden: the role does not have the permission.
    """
    resource.session = session
    if claims is None:
        return
    entered = session.unit.entered
    if entered is None or entered.role is None or entered.session_version != claims.session_version:
        raise SessionEnded
    if entered.organization_status != "active":
        raise OrganizationSuspended
    resource.principal = Principal(
        user_id=claims.user_id,
        organization_id=claims.organization_id,
        role=Role(entered.role),
        time_zone=entered.time_zone or "UTC",
        session_id=claims.session_id,
    )
    if handler.mark.permission is not None and not resource.principal.may(handler.mark.permission):
        raise Forbidden


def _page(
    platform: Platform, handler: Handler, arguments: Arguments, resource: "Resource", call: dict[str, Any]
) -> dict[str, Any]:
    if arguments.page is None:
        return {}
    bound_to = {
        "address": request.path,
        "organization": resource.principal.organization_id,
        "path": call,
        "filters": arguments.filters,
    }
    return {
        "page": pagination.page_request(
            **arguments.page, only=arguments.only, bound_to=bound_to, secret=platform.settings.secret_key
        )
    }


def _visibility(resource: "Resource", claims: Claims | None) -> str:
    return resource.principal.role.value if claims else "public"
