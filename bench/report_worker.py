"""Render one report as a worker does, and print its cost: ``python -m bench.report_worker ORGANIZATION JOB``."""

import json
import resource
import sys
import time
from uuid import UUID

from sqlalchemy import select

from campshub.app import create_app
from campshub.config import load_settings
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.runner import Outcome, run_one
from campshub.reports.models import Report

MIB, KIB = 1024 * 1024, 1024


def main() -> None:
    organization_id, job_id = (UUID(word) for word in sys.argv[1:])
    app = create_app(load_settings())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, slices = time.monotonic(), 1
    with app.app_context():
        services = app.extensions["campshub"]
        while (outcome := run_one(services, organization_id, job_id)) is Outcome.MORE:
            slices += 1
        took = time.monotonic() - started
        with unit_of_work(organization_id=organization_id, read_only=True) as session:
            report = session.scalars(select(Report).where(Report.job_id == job_id)).one()
    figures = {
        "rows": report.rows,
        "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB),
        "peak MiB of a child": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / KIB),
        "MiB before": round(before / KIB),
        "seconds": round(took, 1),
        "file MiB": round((report.bytes or 0) / MIB, 1),
        "slices": slices,
        "outcome": outcome.value,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
