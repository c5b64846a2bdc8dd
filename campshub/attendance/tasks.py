"""The jobs of attendance."""

from datetime import UTC, datetime
from uuid import UUID

from campshub.attendance.service import absence_notices, closing, register_alerts
from campshub.core.jobs.registry import Run, external_job
from campshub.core.jobs.schedule import Every, scheduled


@external_job("attendance.close_registers", limit_s=1800)
def close_registers(_run: Run) -> None:
    """Submit and lock the registers that are due."""
    closing.close_registers(datetime.now(UTC))


@external_job("attendance.alert_registers")
def alert_registers(_run: Run) -> None:
    """Alert trainers and admins to registers that are not taken in time."""
    register_alerts.alert_registers(datetime.now(UTC))


@external_job(register_alerts.SEND)
def send_register_alert(run: Run, *, session_id: str, user_id: str) -> None:
    """E-mail one person the alert of a register."""
    register_alerts.send(run, session_id=UUID(session_id), user_id=UUID(user_id))


@external_job("attendance.notify_of_absences")
def notify_of_absences(_run: Run) -> None:
    """Notify guardians of absences, and of their corrections."""
    absence_notices.notify(datetime.now(UTC))


@external_job(absence_notices.SEND)
def send_absence_notice(run: Run, *, notice_id: str, is_correction: bool) -> None:
    """E-mail the guardians of a student a notice or its correction."""
    absence_notices.send(run, notice_id=UUID(notice_id), is_correction=is_correction)


scheduled("attendance.alert_registers", Every(minutes=5))
scheduled("attendance.notify_of_absences", Every(minutes=5))
scheduled("attendance.close_registers", Every(minutes=10))
