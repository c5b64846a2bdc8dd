"""The jobs of students: deleting photos from the storage."""

from datetime import UTC, datetime
from uuid import UUID

from campshub.core.jobs.registry import Run, external_job
from campshub.core.jobs.schedule import Daily, scheduled
from campshub.students.service import photos


@external_job("students.remove_photo")
def remove_photo(run: Run, *, photo_id: str) -> None:
    """Delete the files of a photo that was replaced or deleted."""
    photos.remove(run.services, run.organization_id, UUID(photo_id))


@external_job("students.sweep_photos", limit_s=1800)
def sweep_photos(run: Run) -> None:
    """Delete files of photos that no student has."""
    photos.sweep_orphans(run.services, datetime.now(UTC))


scheduled("students.sweep_photos", Daily(hour=3, minute=50))
