"""Schemas of marking many registers in one call."""

from marshmallow import fields as ma

from campshub.attendance.schemas.records import MarkResultOut, MarksIn, MarksSummaryOut
from campshub.attendance.schemas.sessions import Slot
from campshub.core.http.schemas import fields
from campshub.core.http.schemas.rows import FieldErrorOut, Rows

MOST_REGISTERS = 50


class RegisterIn(MarksIn):
    """The marks of one session, which is named by its id, or by its group, date and slot."""

    session_id = fields.Id(
        load_default=None,
        allow_none=True,
        metadata={"description": "The session's id; of a session that does not exist yet, your own id for it."},
    )
    group_id = fields.Id(load_default=None, allow_none=True, metadata={"description": "None: open gym."})
    local_date = fields.LocalDate(load_default=None, allow_none=True)
    slot = Slot(load_default=None, allow_none=True, most=40)
    starts_at = fields.Instant(
        load_default=None, allow_none=True, metadata={"description": "Of a session that does not exist yet."}
    )
    ends_at = fields.Instant(load_default=None, allow_none=True)
    version = fields.Integer(
        load_default=None,
        allow_none=True,
        least=0,
        metadata={"description": "The register's version that these marks change; without it, any."},
    )


class SyncIn(fields.In):
    """Many registers."""

    example = fields.Example(
        registers=[
            {
                "group_id": fields.example_id("group_id"),
                "local_date": fields.today,
                "slot": "09:00",
                "records": [{"student_id": fields.example_id("student_id"), "code": "late"}],
                "rest": "present",
            }
        ]
    )

    registers = Rows(RegisterIn, most=MOST_REGISTERS, required=True)


class RegisterProblemOut(fields.Out):
    """Why a register was not marked."""

    code = fields.Text(required=True)
    status = ma.Integer(required=True, metadata={"description": "That of the same request for one register."})
    detail = fields.Text(required=True)
    errors = ma.List(ma.Nested(FieldErrorOut), required=True)
    present = ma.Dict(required=True, allow_none=True, metadata={"description": "What conflicts, if you may see it."})


class RegisterResultOut(fields.Out):
    """The result of one register; all fields of a register that was not marked are null, except its problem."""

    index = ma.Integer(required=True, metadata={"description": "The register's index in the request, from 0."})
    outcome = fields.Text(required=True, one_of=("marked", "error"))
    session_id = fields.Id(required=True, allow_none=True)
    is_new = fields.Boolean(
        required=True, allow_none=True, metadata={"description": "Whether this request created the session."}
    )
    results = ma.List(ma.Nested(MarkResultOut), required=True, allow_none=True)
    summary = ma.Nested(MarksSummaryOut, required=True, allow_none=True)
    version = ma.Integer(required=True, allow_none=True, metadata={"description": "The register's version."})
    problem = ma.Nested(RegisterProblemOut, required=True, allow_none=True)


class RegistersSummaryOut(fields.Out):
    """The number of registers by outcome."""

    marked = ma.Integer(required=True)
    error = ma.Integer(required=True)


class RegistersResultOut(fields.Out):
    """The result of each register."""

    results = ma.List(ma.Nested(RegisterResultOut), required=True)
    summary = ma.Nested(RegistersSummaryOut, required=True)
