"""A long report in each format, each in a separate process: its peak memory, time and size.

CSV and XLSX have a million rows, a PDF as many rows as it may have.
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from bench.dataset import Dataset, application
from bench.load import ROOT
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.permissions import GRANTS, Role
from campshub.core.security.principal import Principal
from campshub.reports.formats import FORMATS, pdf
from campshub.reports.service import requests

ROWS = 1_000_000
PDF_ROWS = pdf.MOST_ROWS
KIND = "attendance_records"
MOST_DAYS = 395


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - all parts are called alike
    """Render the report in each format; return its cost."""
    admin = dataset.admins[0]
    found = {}
    with tempfile.TemporaryDirectory(prefix="campshub-bench-") as folder:
        settings = dataset.settings(STORAGE_URL=folder, LOG_LEVEL="WARNING")
        for format_ in FORMATS:
            first = _last_days(dataset, PDF_ROWS) if format_ == "pdf" else _first_day(dataset)
            job_id = _enqueue(
                settings,
                UUID(admin.organization_id),
                UUID(admin.user_id),
                format_,
                first,
                dataset.made.last,
            )
            command = [sys.executable, "-m", "bench.report_worker", admin.organization_id, str(job_id)]
            environment = {**os.environ, **settings}
            output = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            found[format_] = json.loads(output.stdout.splitlines()[-1])  # log lines may precede it
    return found


def _first_day(dataset: Dataset) -> date:
    """Return the first day of a range with a million marks."""
    with dataset.stack.primary.connect(dataset.stack.database) as connection:
        for days in range(30, MOST_DAYS, 30):
            day = dataset.made.last - timedelta(days=days)
            counted = connection.execute(
                "SELECT count(*) FROM attendance_records WHERE organization_id = %s AND local_date >= %s",
                (dataset.made.organization_id, day),
            ).fetchone()
            if counted is not None and counted[0] >= ROWS:
                return day
    return dataset.made.last - timedelta(days=MOST_DAYS)


def _last_days(dataset: Dataset, most: int) -> date:
    """Return the first day of the longest range with at most so many marks."""
    first, count = dataset.made.last, 0
    with dataset.stack.primary.connect(dataset.stack.database) as connection:
        days = connection.execute(
            "SELECT local_date, count(*) FROM attendance_records WHERE organization_id = %s AND local_date <= %s"
            " GROUP BY local_date ORDER BY local_date DESC LIMIT %s",
            (dataset.made.organization_id, dataset.made.last, MOST_DAYS),
        ).fetchall()
    for day, marks in days:
        count += marks
        if count > most:
            break
        first = day
    return first


def _enqueue(
    settings: dict[str, str], organization_id: UUID, user_id: UUID, format_: str, first: date, last: date
) -> UUID:
    """Enqueue the report."""
    app = application(settings)
    principal = Principal(user_id, organization_id, Role.ADMIN.value, "UTC", own_grant=GRANTS[Role.ADMIN.value])
    with app.app_context(), unit_of_work(organization_id=organization_id, user_id=user_id) as session:
        report = requests.request_report(
            session,
            principal,
            app.extensions["campshub"],
            kind=KIND,
            format=format_,
            parameters={"from": first, "to": last},
            now=datetime.now(UTC),
        )
        return report.job_id
