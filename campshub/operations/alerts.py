"""Alerts: values beyond their thresholds, with start, end and advice."""

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

raised = Gauge("campshub_alerts", "Active alerts, by check.", ["check"], multiprocess_mode="mostrecent")


def record(session: Session, found: Sequence[Found]) -> list[Alert]:
    """Raise alerts for values beyond their limits, update active ones, clear the others; return the active ones.

    Needs the system role. If a part cannot be checked, no alert is cleared.
    """
    now = session.unit.now
    active = {(one.name, one.subject): one for one in session.scalars(_active())}
    crossed = {(one.threshold.name, one.subject): one for one in found if one.is_crossed}
    unreachable = {one.subject for one in found if one.threshold is checks.UNREACHABLE and one.is_crossed}
    for key, one in crossed.items():
        alert = active.get(key)
        if alert is None:
            session.add(_new(one))
            log.warning("alert", extra={"check": key[0], "subject": key[1], "value": one.value, "advice": _advice(one)})
        else:
            alert.value, alert.seen_at = one.value, now
    for key, alert in active.items():
        if key not in crossed and not unreachable:
            alert.cleared_at = now
    session.flush()
    remaining = list(session.scalars(_active()))
    for threshold in checks.ALL:
        raised.labels(threshold.name).set(sum(one.name == threshold.name for one in remaining))
    return remaining


def _active() -> Any:
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
