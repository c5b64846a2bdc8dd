"""Alerts: what a threshold check has found beyond its limit, from when until when, with what to do about it."""

import logging
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import Index, func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.base import Base, new_id
from campshub.core.db.expiry import expires
from campshub.core.db.session import Session
from campshub.core.db.work import unit_of_work
from campshub.core.http.serialise import write
from campshub.core.observe.prometheus import Gauge
from campshub.core.ops import checks
from campshub.core.ops.checks import Found
from campshub.core.ops.options import json_option

log = logging.getLogger(__name__)

raised = Gauge("campshub_alerts", "Alerts that stand, by check.", ["check"], multiprocess_mode="mostrecent")


class Alert(Base):
    """One thing that is, or was, beyond its limit; the platform's own."""

    __tablename__ = "alerts"
    __tag__ = "alerts"
    __audited__: ClassVar[bool] = False
    __table_args__ = (
        # One that stands a subject.
        Index("uq_alerts_standing", "name", "subject", unique=True, postgresql_where=text("cleared_at IS NULL")),
        Index("ix_alerts_cleared_at", "cleared_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    subject: Mapped[str]
    value: Mapped[float]
    threshold: Mapped[float]
    unit: Mapped[str]
    advice: Mapped[str]
    raised_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    cleared_at: Mapped[datetime | None]


# Longer than half a year nobody asks.
expires(Alert, "cleared_at < now() - INTERVAL '180 days'")


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


alerts = AppGroup("alerts", help="What is beyond its limit, and what to do about it.")
commands = (alerts,)


@alerts.command("list")
@click.option("--cleared", is_flag=True, help="Those that were cleared, too; the last hundred.")
@json_option
def list_alerts(*, cleared: bool, as_json: bool) -> None:
    """List the alerts that stand.

    Example: flask alerts list
    """
    statement = select(Alert).order_by(Alert.raised_at.desc()).limit(100)
    with unit_of_work(system=True, read_only=True) as session:
        found = list(session.scalars(statement if cleared else statement.where(Alert.cleared_at.is_(None))))
    _print(found, as_json=as_json)


@alerts.command("check")
@json_option
def check(*, as_json: bool) -> None:
    """Look at every threshold now, record what is found, and list what stands; fail if anything does.

    Example: flask alerts check
    """
    looked = checks.look(current_app.extensions["campshub"])
    with unit_of_work(system=True) as session:
        found = record(session, looked)
    _print(found, as_json=as_json)
    if found:
        raise click.exceptions.Exit(1)


def _print(found: Sequence[Alert], *, as_json: bool) -> None:
    names = ("name", "subject", "value", "threshold", "unit", "advice", "raised_at", "seen_at", "cleared_at")
    if as_json:
        click.echo(write([{name: getattr(one, name) for name in names} for one in found]).decode())
        return
    for one in found:
        until = f", cleared {one.cleared_at:%Y-%m-%d %H:%M}" if one.cleared_at else ""
        click.echo(
            f"{one.name} {one.subject}: {one.value:.1f} {one.unit} (limit {one.threshold:g}),"
            f" since {one.raised_at:%Y-%m-%d %H:%M}{until}: {one.advice}"
        )
    if not found:
        click.echo("Nothing is beyond its limit.")
