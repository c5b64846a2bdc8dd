"""The jobs of the platform and their schedule."""

from campshub.operations.tasks import aggregates, maintenance

__all__ = ["aggregates", "maintenance"]
