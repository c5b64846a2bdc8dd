"""Bodies of many rows: each row answers for itself, so one that does not fit its schema refuses no other."""

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
    """One row of a body: what it says, or why it cannot be read; ``raw`` is the row as it came."""

    values: dict[str, Any] | None
    errors: list[FieldError]
    raw: Any = None


class Rows(ma.List[Any]):
    """A list whose rows are read one by one; it loads as ``GivenRow`` each."""

    def __init__(self, schema: type[Schema], *, most: int, least: int = 1, **options: Any) -> None:
        super().__init__(ma.Nested(schema), validate=[validate.Length(min=least, max=most)], **options)
        self._row, self._most = schema(), most

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_options: Any) -> Any:  # noqa: ARG002 - the signature is the library's
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if len(value) > self._most:  # before its rows: reading a million wrong ones takes long
            raise ValidationError(f"Longer than maximum length {self._most}.")
        return [self._read(row) for row in value]

    def _read(self, row: Any) -> GivenRow:
        try:
            return GivenRow(self._row.load(row), [], row)
        except ValidationError as error:
            return GivenRow(None, field_error_list(error.messages), row)


class FieldErrorOut(fields.Out):
    """What is wrong with one place."""

    pointer = fields.Text(required=True)
    code = fields.Text(required=True)
    detail = fields.Text(required=True)
