"""The Celery app: run it with ``celery -A celery_worker worker`` and ``celery -A celery_worker beat``."""

import sys

from campshub.app import create_app
from campshub.config import SettingsError, load_settings
from campshub.core.jobs.celery_app import new_celery
from campshub.core.jobs.worker import attach, attach_metrics

try:
    settings = load_settings()
except SettingsError as error:
    sys.exit(str(error))
attach_metrics(settings)
celery = attach(new_celery(settings), create_app)
