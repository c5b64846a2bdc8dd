"""The endpoints of exercises and workout logs."""

from campshub.workouts.routes.exercises import exercises, muscles
from campshub.workouts.routes.logs import student_workouts, workout_logs
from campshub.workouts.routes.progress import progress

blueprints = (muscles, exercises, workout_logs, student_workouts, progress)
