"""What Celery's workers and its beat serve: ``celery -A celery_worker worker`` and ``celery -A celery_worker beat``."""

import sys

from campshub.app import create_app
from campshub.config import SettingsError, load_settings
from campshub.core.jobs.broker import new_celery
from campshub.core.jobs.worker import attach

try:
    celery = attach(new_celery(load_settings()), create_app)
except SettingsError as error:
    sys.exit(str(error))
