"""The endpoints of calendars and timetables."""

from campshub.timetables.routes.calendars import calendars
from campshub.timetables.routes.groups import group_timetables

blueprints = (calendars, group_timetables)
