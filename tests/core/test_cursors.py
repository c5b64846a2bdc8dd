"""Cursors are encrypted and authenticated, equal pages have equal bytes, and keys can be replaced."""

import base64
import secrets
import time
import timeit

import orjson
import pytest

from campshub.app import create_app
from campshub.core.security.crypto import Cursors
from campshub.core.security.permissions import Role
from tests.conftest import close, new_tenant, settings_of

LIST = "/api/students/?limit=1"


def key(name):
    return f"{name}:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}"


@pytest.fixture
def served(stack, database):
    """Return a factory of applications with a key ring."""
    apps = []

    def with_keys(*ring):
        apps.append(create_app(settings_of(stack, database, field_encryption_keys=",".join(ring), cache_ttl_data=0)))
        return apps[-1]

    yield with_keys
    for app in apps:
        close(app)


@pytest.fixture
def children(student):
    return [student(given_name="Wilhelmina", family_name=f"Zyxomma{number}") for number in range(3)]


def test_a_cursor_reveals_nothing_of_the_row(api, children):
    response = api.get(LIST)

    cursor = response.json["next_cursor"]
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    for shown in (b"zyxomma", b"wilhelmina", children[0]["id"].encode(), children[0]["code"].encode()):
        assert shown not in raw.lower()
        assert shown not in cursor.encode().lower()
    assert cursor in response.headers["Link"]


def test_a_changed_cursor_is_refused(api, children):
    cursor = api.get(LIST).json["next_cursor"]

    for at in range(len(cursor)):
        changed = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
        assert api.get(f"{LIST}&cursor={changed}").problem["code"] == "bad_cursor", at
    for broken in (cursor[:-1], cursor[:20], f"{cursor}A", f"{cursor}=", f"{cursor}!", "A", cursor * 2):
        assert api.get(f"{LIST}&cursor={broken}").problem["code"] == "bad_cursor", broken
    assert api.get(f"{LIST}&cursor={cursor}").status == 200


def test_a_cursor_is_bound_to_its_organization_url_filters_and_order(api, other, children):
    cursor = api.get(LIST).json["next_cursor"]

    for url in (f"{LIST}&status=active", f"{LIST}&sort=-name", f"{LIST}&sort=code", "/api/groups/?limit=1"):
        assert api.get(f"{url}&cursor={cursor}").problem["code"] == "bad_cursor", url
    assert other.the(Role.ADMIN).get(f"{LIST}&cursor={cursor}").problem["code"] == "bad_cursor"
    assert api.get(f"/api/students/?limit=2&fields=id&cursor={cursor}").status == 200


def test_a_page_rendered_again_is_the_same_bytes(served):
    ring = key("a")
    first, second = served(ring), served(ring)
    admin = new_tenant(first).the(Role.ADMIN)
    for number in range(2):
        admin.made("/api/students/", {"code": f"c{number}", "given_name": "A", "family_name": f"B{number}"})

    pages = [type(admin)(app, admin.headers).get(LIST) for app in (first, second, first)]

    assert {page.headers["ETag"] for page in pages} == {pages[0].headers["ETag"]}
    again = type(admin)(second, admin.headers).get(LIST, headers={"If-None-Match": pages[0].headers["ETag"]})
    assert again.status == 304


def test_keys_can_be_replaced_while_clients_page(served):
    old, new = key("old"), key("new")
    before, learned, current, without = served(old), served(old, new), served(new, old), served(new)
    admin = new_tenant(before).the(Role.ADMIN)
    for number in range(2):
        admin.made("/api/students/", {"code": f"c{number}", "given_name": "A", "family_name": f"B{number}"})

    def cursor_of(app):
        return type(admin)(app, admin.headers).get(LIST).json["next_cursor"]

    def status(app, cursor):
        return type(admin)(app, admin.headers).get(f"{LIST}&cursor={cursor}").status

    assert [status(app, cursor_of(before)) for app in (before, learned, current)] == [200, 200, 200]
    assert [status(app, cursor_of(current)) for app in (learned, current, without)] == [200, 200, 200]
    assert status(without, cursor_of(before)) == 400


def test_the_cost_of_a_cursor_is_printed(record_property):
    cursors = Cursors({"a": secrets.token_bytes(32)})
    plain, bound_to = orjson.dumps(["khatun rahima begum", "0192f8a0-7c3e-7b1a-9d2e-3f4a5b6c7d8e"]), bytes(16)

    cursor = cursors.seal(plain, bound_to=bound_to)

    assert cursors.open(cursor, bound_to=bound_to) == plain
    sealing, opening = (
        min(timeit.repeat(call, number=200, repeat=20, timer=time.thread_time)) / 200 * 1e6
        for call in (
            lambda: cursors.seal(plain, bound_to=bound_to),
            lambda: cursors.open(cursor, bound_to=bound_to),
        )
    )
    record_property("figure", f"a cursor: {sealing:.1f} us to encrypt, {opening:.1f} us to read")
