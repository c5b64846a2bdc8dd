"""Keys are rotated without signing anyone out."""

import json

import pytest

from campshub.app import create_app
from campshub.config import read_keys
from campshub.core.db.base import new_id
from tests.conftest import Client, close, settings_of


@pytest.fixture
def flask(app):
    return lambda *words: app.test_cli_runner().invoke(args=["keys", *words])


@pytest.mark.parametrize("kind", ["tokens", "fields"])
def test_keys_are_listed_by_their_ids_alone(flask, settings, kind):
    value = settings.jwt_private_keys if kind == "tokens" else settings.field_encryption_keys

    listed = flask("list", "--for", kind)

    assert listed.output.split() == [*read_keys(value), "(current)"]
    assert value.partition(":")[2] not in listed.output


@pytest.mark.parametrize("kind", ["tokens", "fields"])
def test_a_new_key_is_told_with_what_to_put_into_the_settings(flask, settings, kind):
    value = settings.jwt_private_keys if kind == "tokens" else settings.field_encryption_keys
    made, again = (json.loads(flask("new", "--for", kind, "--json").stdout) for _ in range(2))

    assert made["key"] != again["key"]
    assert list(read_keys(made["first"]))[:-1] == list(read_keys(value))
    assert list(read_keys(made["then"]))[1:] == list(read_keys(value))
    assert f"{made['setting']}=" in flask("new", "--for", kind).output


def test_nobody_is_signed_out_while_a_new_key_comes_in(flask, stack, database, place, api):
    steps = json.loads(flask("new", "--json").stdout)
    apps = [create_app(settings_of(stack, database, jwt_private_keys=steps[step])) for step in ("first", "then")]

    def token(app):
        with app.app_context():
            return app.extensions["campshub"].tokens.issue(
                user_id=api.user_id, organization_id=place.id, session_id=new_id(), session_version=1
            )

    # Each token is read by the processes that are restarted before and after those that signed it.
    for signed_by, read_by in ((api.app, apps[0]), (apps[0], api.app), (apps[0], apps[1]), (apps[1], apps[0])):
        headers = {"Authorization": f"Bearer {token(signed_by)}"}
        assert Client(read_by, headers).get("/api/me/").status == 200
    for app in apps:
        close(app)
