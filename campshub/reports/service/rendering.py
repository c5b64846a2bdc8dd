"""Rendering a report: gather its rows a few thousand at a time, write them in its format, and record the progress.

Rows are read on a replica, limited to what the requester sees at that moment. They are stored in parts (``row_store``):
a killed worker loses a few seconds' work, and no worker holds more than one part in memory. A file is written under a
new name before the transaction that records the name. ``reports.cleanup`` deletes files that no row names.
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
from campshub.core.security import authorization
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.core.security.stream_encryption import EncryptingWriter
from campshub.core.service_base import Services
from campshub.core.storage import path_of
from campshub.core.typesetting.process import NoFonts
from campshub.reports.access_snapshot import AccessSnapshot
from campshub.reports.document import Document
from campshub.reports.formats import Printed, TooManyRows
from campshub.reports.kinds import ReportArguments, ReportKind, all_kinds
from campshub.reports.models import Report, ReportSchedule
from campshub.reports.queries.schedules import organization_of
from campshub.reports.row_store import RowStore, file_identity
from campshub.reports.tempdir import temporary_folder

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Rows of a part; a kind may read fewer at once.
PART_ROWS = 10_000


_START: dict[str, Any] = {"parts": [], "rows": 0, "sums": {}, "is_whole": False, "access": None}


class Refused(Exception):
    """The report is not made. The message is the problem's code, which the requester sees."""


def principal_of(
    caller_row: CallerRow | None, organization_id: UUID, user_id: UUID, api_key_id: UUID | None
) -> Principal:
    """Return a user's or key's principal as of now.

    :raises Refused: they are no longer a member, their key is not valid, or the organization is not active.
    """
    try:
        return authorization.principal_of(caller_row, organization_id, user_id, api_key_id)
    except authorization.NoPrincipal as error:
        raise Refused(str(error)) from error


def advance(session: Session, run: Run, position: dict[str, Any] | None, *, report_id: UUID) -> Step:
    """Do the next step of a report: gather a part of its rows or, after the last part, write the file.

    The session is not used until the work is done, because the first statement begins its transaction.
    """
    position = position or _START
    report = _find_report(run, report_id)
    if report is None:
        sweep(run.services, run.organization_id, report_id)
        return Step(finished=True)
    try:
        if position["is_whole"]:
            return _finish(session, run, report, position)
        return _gather(run, report, position)
    except (Refused, Problem, NoFonts) as refusal:
        return _refuse(session, run, report_id, position, refusal)


def _find_report(run: Run, report_id: UUID) -> Any:
    columns = (
        *(Report.id, Report.user_id, Report.api_key_id, Report.with_key, Report.schedule_id),
        *(Report.kind, Report.format, Report.parameters),
    )
    with run.reading() as session:
        own = Report.organization_id == run.organization_id
        return session.execute(select(*columns).where(own, Report.id == report_id)).one_or_none()


@contextmanager
def _as_requester(
    run: Run, report: Any, *, on_primary: bool = False
) -> Iterator[tuple[Session, Principal, ReportKind, AccessSnapshot]]:
    """Open a read session as the requester, with their current permissions and scope.

    :raises Refused: they may no longer read the data of this kind, or the kind or the key does not exist any more.
    """
    kind = all_kinds().get(report.kind)
    if kind is None:
        raise Refused("kind_unknown")
    if report.with_key and report.api_key_id is None:
        raise Refused("asker_gone")
    own_run = replace(run, user_id=report.user_id, api_key_id=report.api_key_id)
    with own_run.reading(on_primary=on_primary) as session:
        principal = principal_of(session.unit.caller_row, run.organization_id, report.user_id, report.api_key_id)
        if not kind.permissions | {Permission.REPORTS_READ} <= principal.permissions:
            raise Refused("kind_not_yours")
        yield session, principal, kind, AccessSnapshot.of(session, principal)


def _access_changed(position: dict[str, Any], access: AccessSnapshot) -> bool:
    """Return whether the rows so far were gathered with another access than the requester has now."""
    return position.get("access") not in {None, access.digest().hex()}


def _gather(run: Run, report: Any, position: dict[str, Any]) -> Step:
    store = _row_store(run.services, run.organization_id, report.id, position["parts"])
    sums = dict(position["sums"])
    rows: list[Any] = []
    after = store.after()
    arguments = ReportArguments(report.parameters)
    with _as_requester(run, report) as (session, principal, kind, access):
        if _access_changed(position, access):
            return Step(position=_START)
        if not store.parts:
            kind.subject(session, principal, arguments)  # raises if they do not see it any more
        while True:
            part = kind.gather(session, principal, arguments, after, sums)
            rows += part.rows
            after = part.after
            if after is None or len(rows) >= PART_ROWS:
                break
    done = position["rows"] + len(rows)
    if report.format == "pdf" and done > (most := run.services.settings.report_pdf_rows):
        raise TooManyRows.than(most)
    store.add(rows, after)
    progress = {"parts": store.parts, "rows": done, "sums": sums, "is_whole": after is None}
    progress["access"] = access.digest().hex()
    return Step(position=progress, done=done, total=done if after is None else None)


def _finish(session: Session, run: Run, report: Any, position: dict[str, Any]) -> Step:
    services = run.services
    # On the primary: a replica that lags shows the access from before a change made during the run.
    with _as_requester(run, report, on_primary=True) as (reading, principal, kind, access):
        if _access_changed(position, access):
            return Step(position=_START)
        document = describe(reading, principal, kind, ReportArguments(report.parameters), position["sums"], run)
    store = _row_store(services, run.organization_id, report.id, position["parts"])
    name = f"file-{new_id().hex}"
    path = path_of(run.organization_id, "reports", report.id, name)
    identity = file_identity(run.organization_id, report.id, name)
    with (
        services.storage.open_write(path) as raw,
        EncryptingWriter(raw, services.file_keys, identity) as encrypted,
    ):
        counted = Counted(encrypted)
        printed = write_report(services, report.format, counted, document, store)
    row = session.get(Report, (run.organization_id, report.id), with_for_update=True)
    if row is None:
        sweep(services, run.organization_id, report.id)
        return Step(finished=True)
    row.state, row.file, row.ready_at = "ready", name, session.unit.now
    row.scope, row.among = access.scope.value, sorted(access.among)
    row.rows, row.bytes, row.notes = printed.rows, counted.bytes, list(printed.notes)
    enqueue(session, "reports.sweep", report_id=str(report.id))
    if report.schedule_id is not None:
        _enqueue_emails(session, report)
    result = {"report_id": str(report.id), "url": f"/api/reports/{report.id}/"}
    return Step(finished=True, done=printed.rows, total=printed.rows, result=result)


def _enqueue_emails(session: Session, report: Any) -> None:
    schedule = session.scalars(
        select(ReportSchedule).where(
            ReportSchedule.organization_id == session.unit.organization_id, ReportSchedule.id == report.schedule_id
        )
    ).one_or_none()
    for recipient in schedule.recipient_ids if schedule is not None else ():
        enqueue(session, "reports.send", report_id=str(report.id), user_id=recipient)


def _refuse(session: Session, run: Run, report_id: UUID, position: dict[str, Any], refusal: Exception) -> Step:
    row = session.get(Report, (run.organization_id, report_id), with_for_update=True)
    problem = "no_fonts" if isinstance(refusal, NoFonts) else getattr(refusal, "code", str(refusal))
    if row is not None:
        row.state, row.problem = "refused", problem
        enqueue(session, "reports.sweep", report_id=str(report_id))
    result = {"report_id": str(report_id), "problem": problem}
    return Step(finished=True, done=position["rows"], result=result)


def describe(
    session: Session,
    principal: Principal,
    kind: ReportKind,
    arguments: ReportArguments,
    sums: dict[str, Any],
    run: Run | None,
) -> Document:
    """Return a report's document: head, columns, chart, summary."""
    organization = organization_of(session, principal.organization_id)
    at = (session.unit.now if run is None else run.created_at).astimezone(ZoneInfo(organization.time_zone))
    return Document(
        title=kind.title,
        organization=organization.name,
        columns=kind.columns(arguments),
        generated_at=at,
        subject=tuple(kind.subject(session, principal, arguments)),
        chart=kind.chart(sums),
        landscape=kind.landscape,
        locale=organization.locale,
        legend=kind.legend(session, principal),
        summary=kind.summary(sums),
        template=kind.template,
        margin_mm=kind.margin_mm,
    )


def write_report(services: Services, format_: str, out: Any, document: Document, store: RowStore) -> Printed:
    """Write a report in its format."""
    writer = import_module(f"campshub.reports.formats.{format_}")
    settings = services.settings
    options = {"fonts": settings.report_fonts, "pdf_rows": settings.report_pdf_rows}
    with temporary_folder() as folder:
        printed: Printed = writer.write(out, document, store.rows(), folder=folder, **options)
    return printed


def _row_store(services: Services, organization_id: UUID, report_id: UUID, parts: list[str]) -> RowStore:
    return RowStore(
        services.storage, services.file_keys, organization_id=organization_id, report_id=report_id, parts=parts
    )


def sweep(services: Services, organization_id: UUID, report_id: UUID, *, but: str | None = None) -> None:
    """Delete the files of a report, except the one named ``but``."""
    folder = path_of(organization_id, "reports", report_id)
    if but is None:
        services.storage.delete_folder(folder)
        return
    for name in services.storage.folder(folder):
        if name != but:
            services.storage.delete(f"{folder}/{name}")


class Counted(io.RawIOBase):
    """Count the bytes written to a file; closing this does not close the file."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file, self.bytes = file, 0

    def writable(self) -> bool:
        """Return True: this is a file to write to."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Write and count."""
        count: int = self._file.write(data)
        self.bytes += count
        return count
