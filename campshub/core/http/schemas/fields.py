"""Schema fields; each rejects values that the database could not store."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate

from campshub.core import names
from campshub.core.db.models import read_id
from campshub.core.normalization import clean_email
from campshub.core.time_zones import time_zones

_MAX_UUID = (1 << 128) - 1
_WHOLE = re.compile(r"-?[0-9]{1,20}")  # int() would also take "1_000", " 1 " and other scripts' digits
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")  # ISO 8601 also writes weeks
# RFC 3339, 5.6; ISO 8601 also writes weeks, basic forms and times without seconds. The offset is checked separately.
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
INT_MAX = 2_147_483_647
BIGINT_MAX = 9_007_199_254_740_991  # the largest integer that JavaScript represents exactly
SHORT = 200
LONG = 4_000
LONGEST_EMAIL = 254
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(minutes=5)
IN_FUTURE = "More than 5 minutes ahead of the server's clock."


class Example:
    """A valid example of a body for the OpenAPI document; callables in it are called for their value."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def written(self) -> Any:
        """Return the body as JSON."""
        return _written(self._values)


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _written(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_written(inner) for inner in value]
    return value() if callable(value) else value


@cache
def example_id(name: str) -> str:
    """Return the example id of a parameter: a UUID of version 7, the same in all examples."""
    digits = hashlib.sha256(name.encode()).hexdigest()
    return str(UUID(f"019a0000-0000-7{digits[:3]}-8{digits[3:6]}-{digits[6:18]}"))


def today() -> str:
    """Return today's date for examples that need a recent date; its month has partitions."""
    return datetime.now(UTC).date().isoformat()


def yesterday_morning() -> str:
    """Return a recent instant for examples."""
    return f"{datetime.now(UTC).date() - timedelta(days=1)}T06:00:00Z"


class In(Schema):
    """The base of request schemas: unknown fields are errors."""

    error_messages = {"type": "Must be a JSON object."}  # noqa: RUF012 - marshmallow's own form
    # The example of a schema that is a request body; ``tests/test_examples.py`` sends it.
    example: ClassVar[Example | None] = None

    class Meta:
        """Unknown fields are errors."""

        unknown = RAISE


def _nothing() -> None:
    """Return None, the value of an absent parameter."""


class Filter(In):
    """The base of query parameters: an absent parameter loads as None, but null is not a valid value."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:  # noqa: ARG002 - marshmallow's own
        """Remove null and a null default from the document, because clients would offer them."""
        field_obj.allow_none = False
        if field_obj.load_default is None:
            field_obj.load_default = _nothing


class Out(Schema):
    """The base of response schemas. Lengths are limits for requests, so the document does not state them here.

    Later versions may add properties, so the document allows unknown ones.
    """

    class Meta:
        """Unknown properties are no errors."""

        unknown = EXCLUDE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:  # noqa: ARG002 - marshmallow's own
        """Remove the limits of length."""
        for bound in (field_obj, getattr(field_obj, "inner", None)):
            if bound is not None:
                bound.validators = [v for v in bound.validators if not isinstance(v, validate.Length)]


class Stored(fields.Nested):
    """An object that is stored and returned as JSON; the schema only describes it, and properties may be absent."""


class Text(fields.String):
    """Text of a limited length without NUL, which PostgreSQL cannot store."""

    default_error_messages = {"nul": "Must not contain NUL characters."}  # noqa: RUF012 - marshmallow's own form

    def __init__(self, *, most: int = SHORT, least: int = 0, one_of: Any = None, **options: Any) -> None:
        checks: list[Any] = [validate.Length(min=least or None, max=most)]
        if one_of is not None:
            checks = [validate.OneOf([str(choice) for choice in one_of])]
        super().__init__(validate=checks, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        text = super()._deserialize(value, attr, data, **options)
        if "\x00" in text:
            raise self.make_error("nul")
        return text


class _Trimmed(Text):
    """Text without its surrounding blanks; they count towards the length of what is sent, as the document states."""

    def __init__(self, *, most: int = SHORT, least: int = 1, **options: Any) -> None:
        super().__init__(most=most, least=least, **options)
        self._most = most

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        text = super()._deserialize(value, attr, data, **options)
        if len(text) > self._most:
            raise ValidationError(f"Longer than maximum length {self._most}.")
        return names.trimmed(text)


class NonEmptyText(_Trimmed):
    """Text that is not empty; surrounding blanks are removed."""


class Note(Text):
    """Text that may be empty; it loads as None if it has no visible character."""

    def deserialize(self, *arguments: Any, **options: Any) -> Any:
        """Load the text; the validators see what was sent."""
        text = super().deserialize(*arguments, **options)
        return None if isinstance(text, str) and not names.is_visible(text) else text


class Name(NonEmptyText):
    """A name, title, code or label: one line with a visible character; with ``least=0`` it may be empty."""

    default_error_messages = {  # noqa: RUF012 - marshmallow's own form
        "invisible": "Must contain a character that can be seen.",
        "not_one_line": "Must not contain control characters, or characters that change the direction of text.",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(metadata={"pattern": names.ONE_LINE, **options.pop("metadata", {})}, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        text = super()._deserialize(value, attr, data, **options)
        if not names.is_one_line(text):
            raise self.make_error("not_one_line")
        if not names.is_visible(text) and not (text == "" == value.strip()):
            raise self.make_error("invisible")
        return text


class SearchText(Text):
    """The text of a search: at least one visible character, since an empty search would match everything."""

    default_error_messages = {  # noqa: RUF012 - marshmallow's own form
        "invisible": "Must contain a character that can be seen.",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        text = super()._deserialize(value, attr, data, **options)
        if not names.is_visible(text):
            raise self.make_error("invisible")
        return text


class Currency(Text):
    """A currency code of ISO 4217: three capital letters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(most=3, **options)
        self.validators.append(validate.Regexp(r"^[A-Z]{3}$", error="Not a currency's three capital letters."))


def _is_time_zone(name: str) -> None:
    if name not in time_zones():
        raise ValidationError("Not a time zone of the IANA database, such as Asia/Kolkata.")


class TimeZone(Text):
    """The name of a time zone in the IANA database."""

    def __init__(self, **options: Any) -> None:
        super().__init__(most=64, **options)
        self.validators.append(_is_time_zone)


class EmailAddress(fields.Email):
    """An e-mail address; surrounding blanks are removed, and it loads in NFC."""

    default_error_messages = {  # noqa: RUF012 - marshmallow's own form
        "invalid": "Must be an e-mail address, such as asha@example.org."
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(validate=[validate.Length(max=LONGEST_EMAIL)], **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        text = super()._deserialize(value, attr, data, **options)
        if "\x00" in text or not names.has_no_invisible(text.strip()):
            raise self.make_error("invalid")
        if len(text) > LONGEST_EMAIL:  # including its blanks, as the document states
            raise ValidationError(f"Longer than maximum length {LONGEST_EMAIL}.")
        return clean_email(text)


class PastedSecret(_Trimmed):
    """A secret that users copy from an e-mail or an app; surrounding blanks are removed."""


class Integer(fields.Integer):
    """An integer in the range of its column; in a body it must be a JSON number."""

    def __init__(self, *, least: int = 0, most: int = INT_MAX, in_query: bool = False, **options: Any) -> None:
        bounds = f"Must be a whole number from {least} to {most}, in digits only."
        super().__init__(
            strict=not in_query,
            validate=[validate.Range(min=least, max=most, error=bounds)],
            error_messages={"invalid": bounds, "too_large": bounds},
            **options,
        )
        self._in_query = in_query

    def _validated(self, value: Any) -> Any:
        written = isinstance(value, str) and self._in_query and _WHOLE.fullmatch(value)
        if isinstance(value, bool) or not (written or isinstance(value, int)):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Float(fields.Float):
    """A finite number within bounds; in a body it must be a JSON number."""

    def __init__(self, *, least: float = 0, most: float = 1e9, step: str = "", **options: Any) -> None:
        bounds = f"Must be a number from {least:g} to {most:g}{step}, without quotes."
        super().__init__(
            allow_nan=False,
            validate=[validate.Range(min=least, max=most, error=bounds)],
            error_messages={"invalid": bounds, "too_large": bounds, "special": bounds},
            **options,
        )

    def _validated(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Boolean(fields.Boolean):
    """A boolean: only true and false, no other spelling."""

    default_error_messages = {"invalid": "Must be true or false, without quotes in a body."}  # noqa: RUF012 - marshmallow's own form
    truthy = {True, "true"}  # noqa: RUF012 - marshmallow's own form
    falsy = {False, "false"}  # noqa: RUF012 - marshmallow's own form

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        if not isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **options)


class Id(fields.UUID):
    """An id: a UUID in canonical form, in upper or lower case; the nil and max UUIDs (RFC 9562) are invalid."""

    default_error_messages = {  # noqa: RUF012 - marshmallow's own form
        "invalid_uuid": "Must be a UUID in its canonical form, such as 0192f8a0-7c3e-7b1a-9d2e-3f4a5b6c7d8e."
    }

    def _validated(self, value: Any) -> Any:
        if value is None or isinstance(value, UUID):
            return value
        found = read_id(value) if isinstance(value, str) else None
        if found is None or found.int in (0, _MAX_UUID):
            raise self.make_error("invalid_uuid")
        return found


class BoundedList(fields.List[Any]):
    """A list of a limited length, which is checked before the items: validating a million invalid ones takes long."""

    def __init__(self, inner: Any, *, most: int, **options: Any) -> None:
        super().__init__(inner, validate=[validate.Length(max=most)], **options)
        self._most = most

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        if isinstance(value, list) and len(value) > self._most:
            raise ValidationError(f"Longer than maximum length {self._most}.")
        return super()._deserialize(value, attr, data, **options)


class LocalDate(fields.Date):
    """A date in the organization's time zone, ``YYYY-MM-DD``."""

    default_error_messages = {  # noqa: RUF012 - marshmallow's own form
        "invalid": "Must be a date of the calendar, written YYYY-MM-DD.",
        "range": f"Must be from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}.",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso", **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> date:
        if not isinstance(value, str) or not _DATE.fullmatch(value):
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE)
        found: date = super()._deserialize(value, attr, data, **options)
        if not EARLIEST.date() <= found <= LATEST.date():
            raise self.make_error("range")
        return found


class Instant(fields.AwareDateTime):
    """An instant in RFC 3339 with an offset; it loads in UTC, so that it equals the value read from the database."""

    default_error_messages = {  # noqa: RUF012 - marshmallow's own form
        "invalid": "Must be a date and time of RFC 3339, such as 2026-11-18T06:30:00Z.",
        "invalid_awareness": "Must end in its offset from UTC: Z, or for example +05:30.",
        "range": f"Must be from {EARLIEST:%Y-%m-%dT%H:%M:%SZ} to {LATEST:%Y-%m-%dT%H:%M:%SZ}.",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso", **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> datetime:
        if not isinstance(value, str) or not _INSTANT.fullmatch(value):
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE)
        found: datetime = super()._deserialize(value.upper(), attr, data, **options)
        if not EARLIEST <= found <= LATEST:
            raise self.make_error("range")
        return found.astimezone(UTC)


class UpdatedFrom(Instant):
    """A filter of a list by the time of the last change."""

    def __init__(self) -> None:
        about = "Changed at or after this instant. To keep a copy, use a change feed: this filter misses changes."
        super().__init__(load_default=None, metadata={"description": about})


class PastInstant(Instant):
    """An instant in the past; the client's clock may be five minutes ahead of the server's."""

    default_error_messages = {"future": IN_FUTURE}  # noqa: RUF012 - marshmallow's own form

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> datetime:
        found = super()._deserialize(value, attr, data, **options)
        if found > datetime.now(UTC) + CLOCK_SKEW:
            raise self.make_error("future")
        return found
