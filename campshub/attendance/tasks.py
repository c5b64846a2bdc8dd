"""The jobs of attendance."""

from datetime import UTC, datetime

from campshub.attendance.service import closing
from campshub.core.jobs.registry import Run, external_job
from campshub.core.jobs.schedule import Every, scheduled


@external_job("attendance.close_registers", limit_s=1800)
def close_registers(_run: Run) -> None:
    """Submit and lock the registers that are due."""
    closing.close_registers(datetime.now(UTC))


scheduled("attendance.close_registers", Every(minutes=10))
