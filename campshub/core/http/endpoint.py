"""A handler with its mark compiled: how its request is parsed and its answer written, worked out once at start."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote

import orjson
from flask import Request
from gunicorn.http.errors import ParseException
from marshmallow import Schema, ValidationError
from werkzeug.datastructures import MultiDict

from campshub.core.errors import FieldError, Invalid, MalformedBody, UnsupportedMediaType
from campshub.core.http.decorators import EndpointOptions
from campshub.core.http.schemas import fields
from campshub.core.http.schemas.messages import MOST_ERRORS, field_error_list, step_to
from campshub.core.http.schemas.pages import page_fields
from campshub.core.http.serializer import Serializer, serializer_of
from campshub.core.observe import metrics

READING = frozenset({"GET", "HEAD"})
_PLAIN = frozenset({"", "identity"})
_ASCII = "".join(map(chr, range(128)))


class MissingPermission(Exception):
    """A handler says neither who may call it nor that everyone may."""


@dataclass(frozen=True)
class Arguments:
    """A request's parameters, parsed and normalised: what is asked for is the same however it was written."""

    filters: Mapping[str, Any]
    page: Mapping[str, Any] | None
    only: frozenset[str] | None


@dataclass
class Endpoint:
    """One method of one resource."""

    name: str
    method: str
    function: Callable[..., Any]
    options: EndpointOptions

    def __post_init__(self) -> None:
        """Refuse a handler that says nothing of who may call it."""
        options = self.options
        if (options.permission is None) == (not options.is_public):
            raise MissingPermission(f"{self.name} {self.method} needs either @needs(...) or @public")
        self.reads = self.method in READING
        self.takes_key = self.method == "POST" and not options.is_secret and not options.is_public
        self.compares_version = "if_match" in self.function.__code__.co_names
        self._parse_query = lru_cache(maxsize=1024)(self._load_query)
        self.digest = lru_cache(maxsize=4096)(self._digest)
        self.figures = metrics.Family(options.cache_policy.tags[0] if options.cache_policy else "")
        self._body = options.body() if options.body else None

    def __deepcopy__(self, memo: object) -> "Endpoint":
        """Stay one: flask-smorest copies what documents a handler."""
        return self

    @cached_property
    def page_schema(self) -> Schema | None:
        """The parameters that every list takes."""
        if not self.options.is_page or self.options.answer is None:
            return None
        shown = Serializer(self.options.answer())
        named = page_fields(self.options.sorts, dict(zip(shown.names, shown.attributes, strict=True)))
        return fields.Filter.from_dict(named, name=f"Page{self.options.answer.__name__}")()

    @cached_property
    def query_schema(self) -> Schema | None:
        """The handler's own parameters."""
        return self.options.query() if self.options.query else None

    def serializer(self, only: frozenset[str] | None = None) -> Serializer | None:
        """Return the compiled serialiser of the answer."""
        return serializer_of(self.options.answer, only) if self.options.answer else None

    def arguments(self, request: Request) -> Arguments:
        """Parse the parameters; the same ones are parsed once.

        :raises Invalid: one is unknown or wrong.
        """
        return self.parsed(request.query_string)

    def parsed(self, query_string: bytes) -> Arguments:
        """Parse the parameters of an address.

        :raises Invalid: one is unknown or wrong.
        """
        return self._parse_query(query_string)

    def _load_query(self, query_string: bytes) -> Arguments:
        given = _single(query_string)
        own = set(self.query_schema.fields) if self.query_schema else set()
        paging = {name: given.pop(name) for name in list(given) if self.page_schema and name in self.page_schema.fields}
        errors: list[FieldError] = []
        filters = _load(self.query_schema, given, errors) if own else {}
        if not own:
            errors += [FieldError(step_to(name), "unknown", "Unknown parameter.") for name in given][:MOST_ERRORS]
        page = _load(self.page_schema, paging, errors) if self.page_schema else None
        if errors:
            raise Invalid.of(errors)
        usual = self.options.default_sort(filters)
        if page is not None and page["sort"] == usual and not usual.startswith("-"):
            page["sort"] = ""  # as if it were left out, so that both share cursors and cached responses
        only = page.pop("fields") if page is not None else None
        return Arguments(filters, page, only)

    def _digest(self, path: str, query_string: bytes) -> str:
        """Stand for an address and its parameters, however they were written."""
        arguments = self._parse_query(query_string)
        words = [
            path,
            arguments.filters,
            arguments.page,
            sorted(arguments.only) if arguments.only is not None else None,
        ]
        return hashlib.blake2b(
            orjson.dumps(words, default=str, option=orjson.OPT_SORT_KEYS), digest_size=12
        ).hexdigest()

    def body(self, request: Request) -> dict[str, Any]:
        """Parse the body.

        :raises MalformedBody: it is not JSON, or has a key twice.
        :raises UnsupportedMediaType: it does not say that it is JSON, or is compressed.
        :raises Invalid: it does not fit the schema.
        """
        if self._body is None:
            return {}
        request.max_content_length = self.options.most_bytes
        try:
            raw = request.get_data(cache=True)
        except (OSError, ParseException) as error:  # what gunicorn raises when it reads on
            raise MalformedBody("The body broke off, or was not sent as its headers say.") from error
        if request.mimetype != "application/json":
            raise UnsupportedMediaType
        if request.headers.get("Content-Encoding", "identity").strip().lower() not in _PLAIN:
            raise UnsupportedMediaType(
                "Send the body without Content-Encoding.", headers={"Accept-Encoding": "identity"}
            )
        given = read_json(raw)
        errors: list[FieldError] = []
        loaded: dict[str, Any] = _load(self._body, given, errors)
        if errors:
            raise Invalid.of(errors)
        return loaded


def _single(query_string: bytes) -> dict[str, str]:
    """Read parameters, each given once, with a value, in UTF-8.

    :raises Invalid: one is not.
    """
    # What stands in the bytes unencoded becomes percent-encoded first; ``parse_qsl`` would read it as Latin-1.
    pairs = MultiDict(parse_qsl(quote(query_string, safe=_ASCII), keep_blank_values=True, errors="surrogateescape"))
    errors = []
    for name, values in pairs.lists():
        if any(_is_broken(text) for text in (name, *values)):
            shown = name.encode(errors="replace").decode()
            errors.append(FieldError(step_to(shown), "encoding", "Must be percent-encoded UTF-8."))
        elif len(values) > 1:
            errors.append(FieldError(step_to(name), "repeated", "Given more than once."))
        elif not values[0]:
            errors.append(FieldError(step_to(name), "empty", "Must not be empty; leave the parameter out instead."))
    if errors:
        raise Invalid.of(errors[:MOST_ERRORS])
    return pairs.to_dict()


def _is_broken(text: str) -> bool:
    """Return whether a text comes from bytes that are not UTF-8."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def _load(schema: Schema | None, given: Any, errors: list[FieldError]) -> Any:
    if schema is None:
        return {}
    if not isinstance(given, dict):
        errors.append(FieldError("", "invalid", "Must be a JSON object."))
        return {}
    try:
        return schema.load(given)
    except ValidationError as error:
        errors.extend(field_error_list(error.messages))
        return {}


def read_json(raw: bytes) -> Any:
    """Return what a body says.

    :raises MalformedBody: it is not JSON, or an object in it has a key twice.
    """
    try:
        given = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"The body is not readable JSON: {error.msg} at {error.pos}.") from error
    if isinstance(given, dict | list) and not _has_each_colon(raw, given):
        _require_keys_once(raw)
    return given


def _has_each_colon(raw: bytes, given: Any) -> bool:
    """Return True where certainly no key of a body was dropped, at little cost.

    Written again, a value has a colon for each key, and those in texts. ``orjson`` keeps the last of two equal keys, so
    the body then has at least one colon more. Only an escaped colon could hide that: such a body is read twice.
    """
    if b"\\u003" in raw:
        return False
    try:
        return raw.count(b":") == orjson.dumps(given).count(b":")
    except orjson.JSONEncodeError:  # nested deeper than it writes
        return False


def _require_keys_once(raw: bytes) -> None:
    """Read a body again, more slowly, with a look at each key.

    :raises MalformedBody: an object has a key twice.
    """
    try:
        json.loads(raw, object_pairs_hook=_once)
    except RecursionError as error:
        raise MalformedBody("The body is nested too deeply.") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedBody(f"An object of the body has the key {json.dumps(twice[:64])} twice.")
    return found
