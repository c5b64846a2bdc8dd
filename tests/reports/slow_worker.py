"""Renders a report one row per step, slowly enough to be killed in the middle: ``slow_worker.py ORGANIZATION JOB``."""

import sys
import time
from uuid import UUID

from campshub.app import create_app
from campshub.config import load_settings
from campshub.core.jobs.runner import Outcome, run_one
from campshub.reports.kinds import all_kinds
from campshub.reports.service import making

gather = making._gather


def slowly(*arguments):
    time.sleep(0.2)
    return gather(*arguments)


def main():
    making.PART_ROWS, making._gather = 1, slowly
    for kind in all_kinds().values():
        type(kind).at_once = 1
    app = create_app(load_settings())
    with app.app_context():
        services, organization_id, job_id = app.extensions["campshub"], UUID(sys.argv[1]), UUID(sys.argv[2])
        while run_one(services, organization_id, job_id) is not Outcome.DONE:
            time.sleep(0.1)  # it has yielded to other jobs, or a replica has cancelled a read


if __name__ == "__main__":
    main()
