"""Bodies with many rows: each row is validated separately, so an invalid row does not affect the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, ValidationError, validate
from marshmallow import fields as ma

from campshub.core.errors import FieldError
from campshub.core.http.schemas import fields
from campshub.core.http.schemas.messages import field_error_list


@dataclass(frozen=True)
class GivenRow:
    """One row of a body: its values, or its errors; ``raw`` is the unparsed row."""

    values: dict[str, Any] | None
    errors: list[FieldError]
    raw: Any = None


class Rows(ma.List[Any]):
    """A list whose rows are validated separately; each loads as a ``GivenRow``."""

    def __init__(self, schema: type[Schema], *, most: int, least: int = 1, **options: Any) -> None:
        super().__init__(ma.Nested(schema), validate=[validate.Length(min=least, max=most)], **options)
        self._row, self._most = schema(), most

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_options: Any) -> Any:  # noqa: ARG002 - the signature is the library's
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if len(value) > self._most:  # checked before the rows: validating a million invalid rows takes long
            raise ValidationError(f"Longer than maximum length {self._most}.")
        return [self._read(row) for row in value]

    def _read(self, row: Any) -> GivenRow:
        try:
            return GivenRow(self._row.load(row), [], row)
        except ValidationError as error:
            return GivenRow(None, field_error_list(error.messages), row)


class FieldErrorOut(fields.Out):
    """One error in the request, with its location."""

    pointer = fields.Text(required=True)
    code = fields.Text(required=True)
    detail = fields.Text(required=True)
