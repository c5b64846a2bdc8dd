"""Alerts: what a threshold check has found beyond its limit, from when until when, with what to do about it."""

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from campshub.core.db.session import Session
from campshub.core.observe.prometheus import Gauge
from campshub.operations import checks
from campshub.operations.checks import Found
from campshub.operations.models import Alert

log = logging.getLogger(__name__)

raised = Gauge("campshub_alerts", "Alerts that stand, by check.", ["check"], multiprocess_mode="mostrecent")


def record(session: Session, found: Sequence[Found]) -> list[Alert]:
    """Raise alerts for what is beyond its limit, keep those that stand, clear the others; return those that stand.

    Needs the system role. What could not be looked at clears nothing.
    """
    now = session.unit.now
    standing = {(one.name, one.subject): one for one in session.scalars(_standing())}
    crossed = {(one.threshold.name, one.subject): one for one in found if one.is_crossed}
    away = {one.subject for one in found if one.threshold is checks.AWAY and one.is_crossed}
    for key, one in crossed.items():
        alert = standing.get(key)
        if alert is None:
            session.add(_new(one))
            log.warning("alert", extra={"check": key[0], "subject": key[1], "value": one.value, "advice": _advice(one)})
        else:
            alert.value, alert.seen_at = one.value, now
    for key, alert in standing.items():
        if key not in crossed and not away:
            alert.cleared_at = now
    session.flush()
    left = list(session.scalars(_standing()))
    for threshold in checks.ALL:
        raised.labels(threshold.name).set(sum(one.name == threshold.name for one in left))
    return left


def _standing() -> Any:
    return select(Alert).where(Alert.cleared_at.is_(None)).order_by(Alert.raised_at).limit(10_000)


def _new(found: Found) -> Alert:
    threshold = found.threshold
    return Alert(
        name=threshold.name,
        subject=found.subject,
        value=found.value,
        threshold=threshold.limit,
        unit=threshold.unit,
        advice=threshold.advice,
    )


def _advice(found: Found) -> str:
    return found.threshold.advice
