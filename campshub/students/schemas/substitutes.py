"""Schemas of substitutes."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields


class GroupSubstituteIn(fields.In):
    """A substitute of a group's trainers for some days."""

    example = fields.Example(
        id=fields.example_id("substitute_id"),
        trainer_id=fields.example_id("trainer_id"),
        first_date=fields.today,
        last_date="2199-12-31",
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry assigns no one twice."})
    trainer_id = fields.Id(required=True)
    first_date = fields.LocalDate(required=True)
    last_date = fields.LocalDate(required=True)


class GroupSubstitutePatch(fields.In):
    """Changes of the days of a substitute."""

    example = fields.Example(last_date="2199-12-30")

    first_date = fields.LocalDate()
    last_date = fields.LocalDate()


class GroupSubstituteFilter(fields.Filter):
    """Filters of substitutes."""

    first_date = fields.LocalDate(
        data_key="from", load_default=None, metadata={"description": "Those whose days end on this date or later."}
    )
    last_date = fields.LocalDate(
        data_key="to", load_default=None, metadata={"description": "Those whose days begin on this date or before."}
    )


class GroupSubstituteOut(fields.Out):
    """A substitute of a group's trainers for some days."""

    id = fields.Id(required=True)
    group_id = fields.Id(required=True)
    trainer_id = fields.Id(required=True)
    first_date = ma.Date(required=True)
    last_date = ma.Date(required=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)
