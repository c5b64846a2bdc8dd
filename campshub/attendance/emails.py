"""Texts of the e-mails about registers and absences."""

from datetime import date, datetime
from uuid import UUID

from campshub.core.mail import Email

_END = "\n\nCampsHub\n"


def register_not_taken(
    id_: UUID, *, to: str, organization: str, group: str, local_date: date, starts_at: datetime, at: datetime
) -> Email:
    """Return the alert that a register was not taken; ``starts_at`` is in the organization's time zone."""
    text = (
        f"The register of {group} on {local_date:%Y-%m-%d} at {starts_at:%H:%M} has not been taken yet.\n\n"
        "Please take it now, or cancel the session if it did not take place."
    )
    return Email(id_, to, f"Register not taken: {group} ({organization})", text + _END, at)


def absent(id_: UUID, *, to: str, organization: str, student: str, group: str, local_date: date, at: datetime) -> Email:
    """Return the notice to a guardian that a student was absent."""
    text = (
        f"{student} was marked as absent from {group} on {local_date:%Y-%m-%d}.\n\n"
        f"If this is wrong, or if you want to explain the absence, please contact {organization}."
    )
    return Email(id_, to, f"Absence of {student} ({organization})", text + _END, at)


def not_absent(
    id_: UUID, *, to: str, organization: str, student: str, group: str, local_date: date, at: datetime
) -> Email:
    """Return the correction of a notice."""
    text = (
        f"We notified you that {student} was absent from {group} on {local_date:%Y-%m-%d}. This has been corrected:"
        f" {student} is not marked as absent any more. You need not do anything."
    )
    return Email(id_, to, f"Correction: {student} ({organization})", text + _END, at)
