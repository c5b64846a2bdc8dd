"""The addresses of reports."""

from campshub.reports.routes.reports import reports
from campshub.reports.routes.schedules import schedules

blueprints = (reports, schedules)
