"""The endpoints of reports and their schedules."""

from campshub.reports.routes.reports import reports
from campshub.reports.routes.schedules import schedules

blueprints = (reports, schedules)
