"""Small parts of core, in cases that requests do not reach."""

import uuid
from datetime import UTC, date, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import fields as ma

from campshub.core.db.fingerprints import fingerprint
from campshub.core.db.models import new_id
from campshub.core.errors import Invalid, NotFound
from campshub.core.http import responses
from campshub.core.http.schemas import fields
from campshub.core.http.schemas.messages import field_errors
from campshub.core.http.serializer import Serializer
from campshub.core.jobs.models import OutboxMessage
from campshub.core.json import write
from campshub.core.security.crypto import DecryptionFailed, KeyRing, new_person_key
from campshub.core.security.permissions import ROLES, SCOPES, Permission, Role
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student

RING = {"new": bytes(range(32)), "old": bytes(32)}


@given(st.binary(max_size=200), st.text(max_size=20))
def test_an_encrypted_value_decrypts_only_in_its_location(plain, context):
    ring = KeyRing(RING)
    sealed = ring.seal(plain, context=context)

    assert ring.open(sealed, context=context) == plain
    assert sealed != ring.seal(plain, context=context)
    with pytest.raises(DecryptionFailed):
        ring.open(sealed, context=f"{context}.")


def test_a_key_ring_decrypts_with_every_key_and_encrypts_with_the_first():
    old = KeyRing({"old": RING["old"]}).seal(b"x", context="c")
    ring = KeyRing(RING)

    assert ring.open(old, context="c") == b"x"
    assert ring.seal(b"x", context="c").startswith("new.")
    for broken in (old[:-4] + "AAAA", "gone." + old[4:], "", "old.", "old.AAAA", "old.*", "x"):
        with pytest.raises(DecryptionFailed):
            ring.open(broken, context="c")
    assert len(new_person_key()) == 32


@pytest.mark.parametrize(("header", "expected"), [
    (None, None), ("*", None), ('"3-0a1b2c3d"', {3}), ('W/"12-0a1b2c3d"', {12}), ('"7"', {7}), (' "7" ', {7}),
    ('"3","4"', {3, 4}), ('"another", W/"3-0a1b2c3d"', {3}),
])  # fmt: skip
def test_if_match_names_versions(header, expected):
    assert responses.expected_versions(header) == expected


@pytest.mark.parametrize("header", ["", "3", '"x"', '"3', '"3" "4"', 'w/"3"', '"-3"'])
def test_if_match_refuses_everything_else(header):
    with pytest.raises(Invalid):
        responses.expected_versions(header)


def test_an_etag_identifies_version_and_content():
    tag = responses.etag_of(3, b"a")

    assert tag.startswith('"3-')
    assert len({tag, responses.etag_of(4, b"a"), responses.etag_of(3, b"b")}) == 3
    assert responses.matches(tag, tag)
    assert responses.matches(f'"x", W/{tag}', tag)
    assert responses.matches("*", tag)
    assert not responses.matches('"x"', tag)
    assert not responses.matches(None, tag)


class Inner(fields.Out):
    name = fields.Text(required=True)
    born = ma.Date()


class Outer(fields.Out):
    id = fields.Id()
    at = ma.AwareDateTime()
    renamed = fields.Text(data_key="as", attribute="kept_as")
    inner = ma.Nested(Inner, allow_none=True)
    many = ma.List(ma.Nested(Inner))
    hidden = fields.Text(load_only=True)


def test_the_serializer_reads_mappings_and_entities_alike():
    values = {
        "id": uuid.UUID(int=1),
        "at": datetime(2026, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        "kept_as": "x",
        "inner": {"name": "a", "born": None},
        "many": [{"name": "b", "born": date(2010, 1, 2)}],
    }
    shown = {
        "id": "00000000-0000-0000-0000-000000000001", "at": "2026-01-01T05:30:00+05:30", "as": "x",
        "inner": {"name": "a", "born": None}, "many": [{"name": "b", "born": "2010-01-02"}],
    }  # fmt: skip
    whole = Serializer(Outer())

    assert orjson.loads(write(whole.one(values))) == shown
    assert orjson.loads(write(whole.many([type("Thing", (), values)()]))) == [shown]
    assert orjson.loads(write(whole.one({**values, "inner": None, "many": None})))["many"] is None
    assert Serializer(Outer(), frozenset({"kept_as"})).one(values) == {"as": "x"}
    assert Serializer(Outer(), frozenset({"id"})).one(values) == {"id": values["id"]}
    assert whole.many([]) == []
    assert write(datetime(2026, 1, 1, tzinfo=UTC)) == b'"2026-01-01T00:00:00Z"'


def test_errors_have_json_pointers():
    messages = {"a/b~c": {0: {"x": ["Missing data for required field."]}}, "_schema": ["Together."], "y": "Alone."}

    assert [(e.pointer, e.code) for e in field_errors(messages)] == [
        ("/a~1b~0c/0/x", "required"), ("", "invalid"), ("/y", "invalid"),
    ]  # fmt: skip


def test_a_fingerprint_depends_on_values_and_not_on_their_order():
    assert fingerprint({"a": 1, "b": date(2026, 1, 1)}) == fingerprint({"b": date(2026, 1, 1), "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
    assert len(fingerprint({})) == 16


def test_ids_grow_with_time():
    ids = [new_id() for _ in range(100)]

    assert ids == sorted(ids)
    assert {one.version for one in ids} == {7}


def test_without_a_rule_only_callers_who_see_everything_see_a_model(app):
    def sees(role, model):
        someone = Principal(user_id=new_id(), organization_id=new_id(), role=role, time_zone="UTC")
        return str(visible_to(someone, model).compile())

    assert sees(Role.CLIENT, OutboxMessage) == sees(Role.TRAINER, OutboxMessage) == "false"
    assert "organization_id" in sees(Role.ADMIN, OutboxMessage)
    assert "user_id" in sees(Role.CLIENT, Student)


def test_every_role_has_its_permissions_and_its_scope():
    assert set(ROLES) == set(SCOPES) == set(Role)
    assert ROLES[Role.CLIENT] < ROLES[Role.SUPERADMIN]
    assert [p.name for p in Permission] == sorted(p.name for p in Permission)
    assert all(p.value == p.name.lower().replace("_", ":", 1) or ":" in p.value for p in Permission)


def test_a_problem_has_its_own_text():
    document = NotFound().document(instance="/x", trace_id="t")

    assert (document["status"], document["code"], document["title"]) == (404, "not_found", "Not Found")
    assert document["detail"] == "The resource does not exist, or you may not see it."
    assert str(NotFound("Gone.")) == "not_found: Gone."
