"""The service container: the objects that requests, jobs and commands share while the application runs."""

from campshub.config import Settings
from campshub.core.http.services import HttpServices
from campshub.core.jobs.celery_app import BrokerSender


class ServiceContainer(HttpServices):
    """All services of an application, stored as ``current_app.extensions["campshub"]``."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, sender=BrokerSender(settings))
