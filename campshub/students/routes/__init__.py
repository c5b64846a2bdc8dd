"""The endpoints of students, guardians and groups."""

from campshub.students.routes.bulk import students_in_bulk
from campshub.students.routes.custom_fields import custom_fields
from campshub.students.routes.enrolments import enrolments
from campshub.students.routes.groups import groups
from campshub.students.routes.guardians import guardians, student_guardians
from campshub.students.routes.photos import student_photos
from campshub.students.routes.students import students
from campshub.students.routes.substitutes import group_substitutes

blueprints = (
    *(students, students_in_bulk, custom_fields, guardians, student_guardians, student_photos),
    *(groups, enrolments, group_substitutes),
)
