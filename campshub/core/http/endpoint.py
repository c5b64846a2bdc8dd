"""An endpoint with its compiled options: how to parse its requests and serialize its responses."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
UNKNOWN_PARAMETER = "Unknown parameter."
_NOT_ENCODED = frozenset({"", "identity"})
_ASCII = "".join(map(chr, range(128)))


class MissingPermission(Exception):
    """An endpoint has neither ``needs`` nor ``public``."""


@dataclass(frozen=True)
class Arguments:
    """The parsed query parameters, normalized: equal requests have equal arguments."""

    filters: Mapping[str, Any]
    page: Mapping[str, Any] | None
    only: frozenset[str] | None
    # The tags of the response.
    tags: tuple[str, ...] = ()


@dataclass
class Endpoint:
    """One method of a resource, with its options."""

    name: str
    method: str
    function: Callable[..., Any]
    options: EndpointOptions

    def __post_init__(self) -> None:
        """Compile the options.

        :raises MissingPermission: the endpoint has neither ``needs`` nor ``public``, or both.
        """
        options = self.options
        if (options.permission is None) == (not options.is_public):
            raise MissingPermission(f"{self.name} {self.method} needs either @needs(...) or @public")
        self.reads = self.method in READING
        self.takes_key = self.method == "POST" and not options.is_secret and not options.is_public
        # An endpoint compares versions exactly if its function uses ``self.if_match``.
        self.compares_version = "if_match" in self.function.__code__.co_names
        self._parse_query = lru_cache(maxsize=1024)(self._load_query)
        self.digest = lru_cache(maxsize=4096)(self._digest)
        self.cache_metrics = metrics.CacheMetrics(options.cache_policy.tags[0] if options.cache_policy else "")
        self._body = options.body() if options.body else None

    def __deepcopy__(self, memo: object) -> "Endpoint":
        """Return this object: flask-smorest copies the documentation of an endpoint, which contains it."""
        return self

    @cached_property
    def page_schema(self) -> Schema | None:
        """The schema of the parameters that every list takes."""
        if not self.options.is_page or self.options.answer is None:
            return None
        serializer = Serializer(self.options.answer())
        attributes = dict(zip(serializer.names, serializer.attributes, strict=True))
        for name in self.options.included:
            attributes.pop(name, None)
        parameters = page_fields(self.options.sorts, attributes)
        return fields.Filter.from_dict(parameters, name=f"Page{self.options.answer.__name__}")()

    @cached_property
    def query_schema(self) -> Schema | None:
        """The schema of the endpoint's own query parameters."""
        return self.options.query() if self.options.query else None

    def serializer(self, only: frozenset[str] | None = None) -> Serializer | None:
        """Return the compiled serializer of the response."""
        return serializer_of(self.options.answer, only) if self.options.answer else None

    def arguments(self, request: Request) -> Arguments:
        """Parse the query parameters of a request, with a cache.

        :raises Invalid: a parameter is unknown or invalid.
        """
        return self.parsed(request.query_string)

    def parsed(self, query_string: bytes) -> Arguments:
        """Parse a query string, with a cache.

        :raises Invalid: a parameter is unknown or invalid.
        """
        return self._parse_query(query_string)

    def _load_query(self, query_string: bytes) -> Arguments:
        values = _parse_query_string(query_string)
        own = set(self.query_schema.fields) if self.query_schema else set()
        paging = {
            name: values.pop(name) for name in list(values) if self.page_schema and name in self.page_schema.fields
        }
        errors: list[FieldError] = []
        filters = _load(self.query_schema, values, errors) if own else {}
        if not own:
            errors += [FieldError(step_to(name), "unknown", UNKNOWN_PARAMETER) for name in values][:MOST_ERRORS]
        page = _load(self.page_schema, paging, errors) if self.page_schema else None
        if errors:
            raise Invalid.of([replace(e, detail=UNKNOWN_PARAMETER) if e.code == "unknown" else e for e in errors])
        default = self.options.default_sort(filters)
        if page is not None and page["sort"] == default and not default.startswith("-"):
            page["sort"] = ""  # as if it were left out, so that both share cursors and cached responses
        only = page.pop("fields") if page is not None else None
        included = frozenset(filters.get("include") or ())
        return Arguments(filters, page, self._with_included(only, included), self._tags(included))

    def _with_included(self, only: frozenset[str] | None, included: frozenset[str]) -> frozenset[str] | None:
        """Return the attributes of the response; None for all of them."""
        if not self.options.included or self.options.answer is None:
            return only
        if only is None:
            only = frozenset(serializer_of(self.options.answer).attributes).difference(self.options.included)
        return only | included

    def _tags(self, included: frozenset[str]) -> tuple[str, ...]:
        policy = self.options.cache_policy
        further = (tag for name in sorted(included) for tag in self.options.included[name])
        return () if policy is None else tuple(dict.fromkeys((*policy.tags, *further)))

    def _digest(self, path: str, query_string: bytes) -> str:
        """Return a digest of a path and its normalized parameters."""
        arguments = self._parse_query(query_string)
        content = [
            path,
            arguments.filters,
            arguments.page,
            sorted(arguments.only) if arguments.only is not None else None,
        ]
        return hashlib.blake2b(
            orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS), digest_size=12
        ).hexdigest()

    def body(self, request: Request) -> dict[str, Any]:
        """Parse the body.

        :raises MalformedBody: it is not JSON, or an object has the same key twice.
        :raises UnsupportedMediaType: its media type is not application/json, or it is compressed.
        :raises Invalid: it does not fit the schema.
        """
        if self._body is None:
            return {}
        request.max_content_length = self.options.most_bytes
        try:
            raw = request.get_data(cache=True)
        except (OSError, ParseException) as error:  # raised by gunicorn while it reads the body
            raise MalformedBody("The body is incomplete, or does not match its headers.") from error
        if request.mimetype != "application/json":
            raise UnsupportedMediaType
        if request.headers.get("Content-Encoding", "identity").strip().lower() not in _NOT_ENCODED:
            raise UnsupportedMediaType(
                "Send the body without Content-Encoding.", headers={"Accept-Encoding": "identity"}
            )
        values = read_json(raw)
        errors: list[FieldError] = []
        loaded: dict[str, Any] = _load(self._body, values, errors)
        if errors:
            raise Invalid.of(errors)
        return loaded


def _parse_query_string(query_string: bytes) -> dict[str, str]:
    """Parse a query string in which each parameter appears once and has a value in UTF-8.

    :raises Invalid: a parameter is repeated, empty or not UTF-8.
    """
    # Percent-encode raw bytes first, because ``parse_qsl`` would decode them as Latin-1.
    pairs = MultiDict(parse_qsl(quote(query_string, safe=_ASCII), keep_blank_values=True, errors="surrogateescape"))
    errors = []
    for name, values in pairs.lists():
        if any(_is_broken(text) for text in (name, *values)):
            printable = name.encode(errors="replace").decode()
            errors.append(FieldError(step_to(printable), "encoding", "Must be percent-encoded UTF-8."))
        elif len(values) > 1:
            errors.append(FieldError(step_to(name), "repeated", "Sent more than once."))
        elif not values[0]:
            errors.append(FieldError(step_to(name), "empty", "Must not be empty; leave the parameter out instead."))
    if errors:
        raise Invalid.of(errors[:MOST_ERRORS])
    return pairs.to_dict()


def _is_broken(text: str) -> bool:
    """Return whether a text was decoded from bytes that are not UTF-8."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _load(schema: Schema | None, values: Any, errors: list[FieldError]) -> Any:
    if schema is None:
        return {}
    if not isinstance(values, dict):
        errors.append(FieldError("", "invalid", "Must be a JSON object."))
        return {}
    try:
        return schema.load(values)
    except ValidationError as error:
        errors.extend(field_error_list(error.messages))
        return {}


def read_json(raw: bytes) -> Any:
    """Parse a JSON body.

    :raises MalformedBody: it is not JSON, or an object in it has the same key twice.
    """
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"The body is not valid JSON: {error.msg} at {error.pos}.") from error
    if isinstance(values, dict | list) and not _has_each_colon(raw, values):
        _require_unique_keys(raw)
    return values


def _has_each_colon(raw: bytes, values: Any) -> bool:
    """Return True if the parser certainly dropped no key; this check is cheap.

    A value that is serialized again has one colon per key, and the colons in its texts. ``orjson`` uses the last of two
    equal keys, so the body then has at least one colon more. Only an escaped colon could hide that, so a body with one
    is parsed a second time.
    """
    if b"\\u003" in raw:
        return False
    try:
        return raw.count(b":") == orjson.dumps(values).count(b":")
    except orjson.JSONEncodeError:  # nested more deeply than orjson writes
        return False


def _require_unique_keys(raw: bytes) -> None:
    """Parse a body again with a slower parser that checks each key.

    :raises MalformedBody: an object has the same key twice.
    """
    try:
        json.loads(raw, object_pairs_hook=_object_of_pairs)
    except RecursionError as error:
        raise MalformedBody("The body is nested too deeply.") from error


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedBody(f"An object of the body has the key {json.dumps(twice[:64])} twice.")
    return found
