"""Schemas of leave requests."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.leave.models import STATUSES

_MOST_BASE64 = 7_000_000  # somewhat more than 5 MiB, so that a file that is too large gets a code of its own


class LeaveRequestIn(fields.In):
    """A request to excuse a student."""

    example = fields.Example(
        id=fields.example_id("leave_request_id"),
        student_id=fields.example_id("student_id"),
        first_date=fields.today,
        last_date=fields.today,
        reason="A family celebration.",
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry requests nothing twice."})
    student_id = fields.Id(required=True)
    first_date = fields.LocalDate(required=True)
    last_date = fields.LocalDate(required=True, metadata={"description": "At most 366 days in all."})
    group_id = fields.Id(
        load_default=None, allow_none=True, metadata={"description": "Only in this group; without it, in all."}
    )
    session_id = fields.Id(load_default=None, allow_none=True, metadata={"description": "Only in this session."})
    reason = fields.NonEmptyText(required=True, most=fields.LONG)


class LeaveApprovalIn(fields.In):
    """An approval."""

    example = fields.Example(comment="Get well soon.")

    comment = fields.NonEmptyText(load_default=None, allow_none=True, most=fields.LONG)


class LeaveRejectionIn(fields.In):
    """A rejection."""

    example = fields.Example(comment="There is an exam on that day.")

    comment = fields.NonEmptyText(required=True, most=fields.LONG)


class AttachmentIn(fields.In):
    """An attachment: a PDF, or a JPEG or PNG image, of at most 5 MiB."""

    example = fields.Example(name="certificate.pdf", content="JVBERi0xLjcKJcKlwrHDqwo=")

    name = fields.Name(required=True, most=200)
    content = fields.Text(
        required=True, least=1, most=_MOST_BASE64, metadata={"description": "The file in Base64 (RFC 4648)."}
    )


class AttachmentToken(fields.Filter):
    """The token of a link."""

    token = fields.Text(required=True, most=1_000)


class AttachmentLinkOut(fields.Out):
    """A link to an attachment, for the user who requested it."""

    url = fields.Text(required=True)
    expires_at = ma.AwareDateTime(required=True)
    name = fields.Text(required=True)
    media_type = fields.Text(required=True)
    bytes = ma.Integer(required=True)


class LeaveRequestFilter(fields.Filter):
    """Filters of leave requests."""

    status = fields.Text(load_default=None, one_of=STATUSES)
    student_id = fields.Id(load_default=None)
    group_id = fields.Id(
        load_default=None,
        metadata={"description": "Requests that concern the group, also those for all groups of its students."},
    )
    first_date = fields.LocalDate(
        data_key="from", load_default=None, metadata={"description": "With a day on or after this date."}
    )
    last_date = fields.LocalDate(
        data_key="to", load_default=None, metadata={"description": "With a day on or before this date."}
    )


class LeaveRequestOut(fields.Out):
    """A leave request."""

    id = fields.Id(required=True)
    student_id = fields.Id(required=True)
    first_date = ma.Date(required=True)
    last_date = ma.Date(required=True)
    group_id = fields.Id(required=True, allow_none=True)
    session_id = fields.Id(required=True, allow_none=True)
    reason = fields.Text(required=True)
    status = fields.Text(required=True, one_of=STATUSES)
    requested_by = fields.Id(required=True, allow_none=True)
    decided_by = fields.Id(required=True, allow_none=True)
    decided_at = ma.AwareDateTime(required=True, allow_none=True)
    comment = fields.Text(required=True, allow_none=True)
    attachment_name = fields.Text(required=True, allow_none=True)
    attachment_type = fields.Text(required=True, allow_none=True)
    attachment_bytes = ma.Integer(required=True, allow_none=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class LeftMarkOut(fields.Out):
    """A mark that stays as it is."""

    session_id = fields.Id(required=True)
    local_date = ma.Date(required=True)
    why = fields.Text(
        required=True,
        one_of=("locked", "marked", "changed"),
        metadata={
            "description": "`locked`: the register is locked. `marked`: there is another mark than an absence."
            " `changed`: someone has changed the mark since the approval."
        },
    )


class LeaveResultOut(LeaveRequestOut):
    """A leave request, and what its approval or cancelling has left as it is."""

    excused = ma.Integer(required=True, metadata={"description": "The number of absences that were excused now."})
    left = ma.List(ma.Nested(LeftMarkOut), required=True)
