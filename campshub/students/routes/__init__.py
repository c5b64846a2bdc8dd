"""The endpoints of students and groups."""

from campshub.students.routes.custom_fields import custom_fields
from campshub.students.routes.groups import groups
from campshub.students.routes.students import students

blueprints = (students, custom_fields, groups)
