"""Making a report: gather its rows a few thousand at a time, put them into its format, and note where it stands.

What is read is read on a replica, as far as whoever asked sees at that moment. The rows wait in parts (``store``), so a
worker that is killed has lost a few seconds' work, and none ever holds more than a part. Files are written before the
transaction that names them, under names of their own; what no row names is swept up by ``reports.cleanup``.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select

from campshub.core.db.models import new_id
from campshub.core.db.session import CallerRow, Session
from campshub.core.errors import Problem
from campshub.core.jobs.registry import Run, Step
from campshub.core.jobs.store import enqueue
from campshub.core.security.grants import granted
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.core.security.stream_encryption import EncryptingWriter
from campshub.core.service_base import Services
from campshub.core.storage import path_of
from campshub.reports.access_snapshot import AccessSnapshot
from campshub.reports.document import Document
from campshub.reports.formats import Printed, TooManyRows
from campshub.reports.kinds import Given, Kind, all_kinds
from campshub.reports.models import Report, ReportSchedule
from campshub.reports.queries.schedules import organization_of
from campshub.reports.row_store import RowStore, file_identity
from campshub.reports.tempdir import own_room
from campshub.reports.typesetting.process import NoFonts

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Rows of a part; what a kind reads at once may be less.
PART_ROWS = 10_000


_BEGINNING: dict[str, Any] = {"parts": [], "rows": 0, "figures": {}, "is_whole": False, "standing": None}


class Refused(Exception):
    """The report is not made, and the asker is told why; the message is the problem's code."""


def principal_of(
    caller_row: CallerRow | None, organization_id: UUID, user_id: UUID, api_key_id: UUID | None
) -> Principal:
    """Return who someone is at this moment.

    :raises Refused: they do not belong any more, their key does not hold, or the organization is not active.
    """
    if caller_row is None or caller_row.role is None:
        raise Refused("asker_gone")
    if caller_row.organization_status != "active":
        raise Refused("organization_suspended")
    return Principal(
        user_id=user_id,
        organization_id=organization_id,
        role=caller_row.role,
        time_zone=caller_row.time_zone or "UTC",
        own_grant=granted(caller_row),
        api_key_id=api_key_id,
    )


def advance(session: Session, run: Run, position: dict[str, Any] | None, *, report_id: UUID) -> Step:
    """Do the next step of a report: a part of its rows, or, when there are no more, the file.

    Nothing is asked of the session before the work is done, since its transaction begins with that.
    """
    position = position or _BEGINNING
    report = _present(run, report_id)
    if report is None:
        sweep(run.services, run.organization_id, report_id)
        return Step(finished=True)
    try:
        if position["is_whole"]:
            return _finish(session, run, report, position)
        return _gather(run, report, position)
    except (Refused, Problem, NoFonts) as refusal:
        return _refuse(session, run, report_id, position, refusal)


def _present(run: Run, report_id: UUID) -> Any:
    columns = (
        *(Report.id, Report.user_id, Report.api_key_id, Report.with_key, Report.schedule_id),
        *(Report.kind, Report.format, Report.parameters),
    )
    with run.reading() as session:
        own = Report.organization_id == run.organization_id
        return session.execute(select(*columns).where(own, Report.id == report_id)).one_or_none()


@contextmanager
def _as_asker(run: Run, report: Any) -> Iterator[tuple[Session, Principal, Kind, AccessSnapshot]]:
    """Read as whoever has asked, with what they may do by now, and as far as they see by now.

    :raises Refused: it is not what the report is made of.
    """
    kind = all_kinds().get(report.kind)
    if kind is None:
        raise Refused("kind_unknown")
    if report.with_key and report.api_key_id is None:
        raise Refused("asker_gone")
    theirs = replace(run, user_id=report.user_id, api_key_id=report.api_key_id)
    with theirs.reading() as session:
        principal = principal_of(session.unit.caller_row, run.organization_id, report.user_id, report.api_key_id)
        if not kind.permissions | {Permission.REPORTS_READ} <= principal.permissions:
            raise Refused("kind_not_yours")
        yield session, principal, kind, AccessSnapshot.of(session, principal)


def _anew(position: dict[str, Any], standing: AccessSnapshot) -> bool:
    """Tell whether what was gathered so far was for someone who saw more, or less, than the asker does now."""
    return position.get("standing") not in {None, standing.digest().hex()}


def _gather(run: Run, report: Any, position: dict[str, Any]) -> Step:
    store = _row_store(run.services, run.organization_id, report.id, position["parts"])
    figures = dict(position["figures"])
    rows: list[Any] = []
    after = store.after()
    given = Given(report.parameters)
    with _as_asker(run, report) as (session, principal, kind, standing):
        if _anew(position, standing):
            return Step(position=_BEGINNING)
        if not store.parts:
            kind.subject(session, principal, given)  # raises where they do not see it any more
        while True:
            part = kind.gather(session, principal, given, after, figures)
            rows += part.rows
            after = part.after
            if after is None or len(rows) >= PART_ROWS:
                break
    done = position["rows"] + len(rows)
    if report.format == "pdf" and done > (most := run.services.settings.report_pdf_rows):
        raise TooManyRows.than(most)
    store.add(rows, after)
    further = {"parts": store.parts, "rows": done, "figures": figures, "is_whole": after is None}
    further["standing"] = standing.digest().hex()
    return Step(position=further, done=done, total=done if after is None else None)


def _finish(session: Session, run: Run, report: Any, position: dict[str, Any]) -> Step:
    services = run.services
    with _as_asker(run, report) as (reading, principal, kind, standing):
        if _anew(position, standing):
            return Step(position=_BEGINNING)
        document = describe(reading, principal, kind, Given(report.parameters), position["figures"], run)
    store = _row_store(services, run.organization_id, report.id, position["parts"])
    name = f"file-{new_id().hex}"
    path = path_of(run.organization_id, "reports", report.id, name)
    identity = file_identity(run.organization_id, report.id, name)
    with (
        services.storage.open_write(path) as raw,
        EncryptingWriter(raw, services.file_keys, identity) as encrypted,
    ):
        counted = Counted(encrypted)
        printed = put(services, report.format, counted, document, store)
    kept = session.get(Report, (run.organization_id, report.id), with_for_update=True)
    if kept is None:
        sweep(services, run.organization_id, report.id)
        return Step(finished=True)
    kept.state, kept.file, kept.ready_at = "ready", name, session.unit.now
    kept.scope, kept.among = standing.scope.value, sorted(standing.among)
    kept.rows, kept.bytes, kept.notes = printed.rows, counted.bytes, list(printed.notes)
    enqueue(session, "reports.sweep", report_id=str(report.id))
    if report.schedule_id is not None:
        _owe_letters(session, report)
    result = {"report_id": str(report.id), "url": f"/api/reports/{report.id}/"}
    return Step(finished=True, done=printed.rows, total=printed.rows, result=result)


def _owe_letters(session: Session, report: Any) -> None:
    schedule = session.scalars(
        select(ReportSchedule).where(
            ReportSchedule.organization_id == session.unit.organization_id, ReportSchedule.id == report.schedule_id
        )
    ).one_or_none()
    for recipient in schedule.recipient_ids if schedule is not None else ():
        enqueue(session, "reports.send", report_id=str(report.id), user_id=recipient)


def _refuse(session: Session, run: Run, report_id: UUID, position: dict[str, Any], refusal: Exception) -> Step:
    kept = session.get(Report, (run.organization_id, report_id), with_for_update=True)
    problem = "no_fonts" if isinstance(refusal, NoFonts) else getattr(refusal, "code", str(refusal))
    if kept is not None:
        kept.state, kept.problem = "refused", problem
        enqueue(session, "reports.sweep", report_id=str(report_id))
    result = {"report_id": str(report_id), "problem": problem}
    return Step(finished=True, done=position["rows"], result=result)


def describe(
    session: Session, principal: Principal, kind: Kind, given: Given, figures: dict[str, Any], run: Run | None
) -> Document:
    """Return a report's head and columns."""
    place = organization_of(session, principal.organization_id)
    at = (session.unit.now if run is None else run.created_at).astimezone(ZoneInfo(place.time_zone))
    return Document(
        title=kind.title,
        organization=place.name,
        columns=kind.columns(given),
        generated_at=at,
        subject=tuple(kind.subject(session, principal, given)),
        chart=kind.chart(figures),
        landscape=kind.landscape,
        locale=place.locale,
        legend=kind.legend(session, principal),
        summary=kind.summary(figures),
        template=kind.template,
        margin_mm=kind.margin_mm,
    )


def put(services: Services, format_: str, out: Any, document: Document, store: RowStore) -> Printed:
    """Put a report into its format."""
    writer = import_module(f"campshub.reports.formats.{format_}")
    settings = services.settings
    options = {"fonts": settings.report_fonts, "pdf_rows": settings.report_pdf_rows}
    with own_room() as folder:
        printed: Printed = writer.write(out, document, store.rows(), folder=folder, **options)
    return printed


def _row_store(services: Services, organization_id: UUID, report_id: UUID, parts: list[str]) -> RowStore:
    return RowStore(
        services.storage, services.file_keys, organization_id=organization_id, report_id=report_id, parts=parts
    )


def sweep(services: Services, organization_id: UUID, report_id: UUID, *, but: str | None = None) -> None:
    """Delete the files of a report, but for the one that its row names."""
    folder = path_of(organization_id, "reports", report_id)
    if but is None:
        services.storage.delete_folder(folder)
        return
    for name in services.storage.folder(folder):
        if name != but:
            services.storage.delete(f"{folder}/{name}")


class Counted(io.RawIOBase):
    """Counts what is written into a file, which stays open."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file, self.bytes = file, 0

    def writable(self) -> bool:
        """Tell that this is for writing."""
        return True

    def write(self, given: "ReadableBuffer") -> int:
        """Write, and count."""
        count: int = self._file.write(given)
        self.bytes += count
        return count
