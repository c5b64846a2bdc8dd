"""The jobs of students: deleting photos from the storage, and waiting lists."""

from datetime import UTC, datetime
from uuid import UUID

from campshub.core.jobs.registry import MINUTE_S, Run, external_job
from campshub.core.jobs.schedule import Daily, Every, scheduled
from campshub.students.service import photos, waiting


@external_job("students.remove_photo")
def remove_photo(run: Run, *, photo_id: str) -> None:
    """Delete the files of a photo that was replaced or deleted."""
    photos.remove(run.services, run.organization_id, UUID(photo_id))


@external_job("students.sweep_photos", limit_s=1800)
def sweep_photos(run: Run) -> None:
    """Delete files of photos that no student has."""
    photos.sweep_orphans(run.services, datetime.now(UTC))


scheduled("students.sweep_photos", Daily(hour=3, minute=50))


@external_job("students.promote_waiting", limit_s=10 * MINUTE_S)
def promote_waiting(run: Run, *, student_id: str | None = None) -> None:
    """Give free places to those who wait for them: in the groups of a student who has left, or in all groups."""
    if student_id is None:
        waiting.promote_all()
    else:
        waiting.promote_all(run.organization_id, student_id=UUID(student_id))


scheduled("students.promote_waiting", Every(minutes=60))
