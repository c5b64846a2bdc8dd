"""Report parameters: validate them against the kind, and resolve their dates."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import func, literal, select

from campshub.core.db.session import Session
from campshub.core.errors import Forbidden, Invalid, NotFound, UnknownReference
from campshub.core.security.principal import Principal
from campshub.reports.dates import PERIODS
from campshub.reports.formats import TooManyRows
from campshub.reports.kinds import ReportArguments, ReportKind, all_kinds

_RANGE, _DAY = ("from", "to"), ("on",)


class KindNotYours(Forbidden):
    """Your role may not read the data of this kind of report."""

    code = "kind_not_yours"
    default_detail = "Your role may not read the data of this kind of report."


def kind_for(principal: Principal, name: str) -> ReportKind:
    """Return a kind of report that the principal may request.

    :raises KindNotYours: they may not.
    """
    found = all_kinds()[name]
    if not found.permissions <= principal.permissions:
        raise KindNotYours
    return found


def checked(kind: ReportKind, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return validated parameters as they are stored, with periods not yet resolved.

    :raises Invalid: a parameter is unknown to the kind, or a required one is missing.
    """
    known = {*kind.takes, "period", *(_RANGE if kind.most_days else _DAY)}
    for name in parameters.keys() - known:
        raise Invalid.at(f"/parameters/{name}", "unknown", f"Reports of the kind {kind.name} do not accept this.")
    for name in sorted(kind.needs):
        if not parameters.get(name):
            raise Invalid.at(f"/parameters/{name}", "required", f"Reports of the kind {kind.name} require this.")
    if parameters.get("period") and any(parameters.get(name) for name in (*_RANGE, *_DAY)):
        raise Invalid.at("/parameters/period", "invalid", "Send either a period or dates, not both.")
    return {
        name: str(value) if isinstance(value, date | UUID) else value
        for name, value in parameters.items()
        if value is not None
    }


def resolved(kind: ReportKind, parameters: Mapping[str, Any], today: date) -> ReportArguments:
    """Return parameters with periods resolved to dates, as of ``today``.

    :raises Invalid: the last date is before the first, or the range is too long.
    """
    others = {name: value for name, value in parameters.items() if name not in {"period", *_RANGE, *_DAY}}
    period = PERIODS[parameters["period"]](today) if parameters.get("period") else None
    if not kind.most_days:
        on = period[0] if period else date.fromisoformat(parameters.get("on") or today.isoformat())
        return ReportArguments({**others, "on": on.isoformat()})
    first_date, last_date = period or _range(parameters, today)
    if last_date < first_date:
        raise Invalid.at("/parameters/to", "invalid", "The last date is before the first.")
    if (last_date - first_date).days >= kind.most_days:
        raise Invalid.at("/parameters/to", "too_far", f"The report covers at most {kind.most_days} days.")
    return ReportArguments({**others, "from": first_date.isoformat(), "to": last_date.isoformat()})


def _range(parameters: Mapping[str, Any], today: date) -> tuple[date, date]:
    first_date, last_date = (parameters.get(name) for name in _RANGE)
    month = PERIODS["this_month"](date.fromisoformat(first_date or last_date or today.isoformat()))
    return (
        date.fromisoformat(first_date) if first_date else month[0],
        date.fromisoformat(last_date) if last_date else month[1],
    )


def require_printable(
    session: Session, principal: Principal, kind: ReportKind, arguments: ReportArguments, *, most: int
) -> None:
    """Refuse a PDF with too many rows, if the kind can count them before it reads them.

    :raises TooManyRows: there are more than ``most``.
    """
    rows = kind.counted(principal, arguments)
    if rows is None:
        return
    bounded = rows.with_only_columns(literal(1).label("row"), maintain_column_froms=True).order_by(None)
    counted = select(func.count()).select_from(bounded.limit(most + 1).subquery())
    if (session.scalar(counted) or 0) > most:
        raise TooManyRows.than(most)


def require_seen(kind: ReportKind, session: Any, principal: Principal, arguments: ReportArguments) -> list[str]:
    """Return the lines that describe a report's subject.

    :raises UnknownReference: the principal does not see it.
    """
    try:
        return kind.subject(session, principal, arguments)
    except NotFound:
        named = next((name for name in ("group_id", "student_id") if arguments.values.get(name)), "")
        detail = "It does not exist, or you may not see it."
        raise UnknownReference.at(f"/parameters/{named}", "unknown_reference", detail) from None
