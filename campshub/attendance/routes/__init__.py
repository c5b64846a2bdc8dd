"""The endpoints of attendance."""

from campshub.attendance.routes.analytics import analytics
from campshub.attendance.routes.codes import codes
from campshub.attendance.routes.my_day import my_day
from campshub.attendance.routes.records import records, student_attendance
from campshub.attendance.routes.sessions import group_sessions, sessions
from campshub.attendance.routes.sync import sync

blueprints = (codes, sessions, group_sessions, records, sync, my_day, student_attendance, analytics)
