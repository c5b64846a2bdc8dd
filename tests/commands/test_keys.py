"""Key rotation signs no user out."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from campshub.app import create_app
from campshub.config import read_keys
from campshub.core.db.models import new_id
from campshub.core.security import encrypted_columns
from campshub.core.security.permissions import Role
from tests.conftest import Client, Tenant, close, new_tenant, settings_of


@pytest.fixture
def flask(app):
    return lambda *arguments: app.test_cli_runner().invoke(args=["keys", *arguments])


@pytest.mark.parametrize("kind", ["tokens", "fields"])
def test_keys_are_listed_only_by_their_ids(flask, settings, kind):
    value = settings.jwt_private_keys if kind == "tokens" else settings.field_encryption_keys

    listed = flask("list", "--for", kind)

    assert listed.output.split() == [*read_keys(value), "(current)"]
    assert value.partition(":")[2] not in listed.output


@pytest.mark.parametrize("kind", ["tokens", "fields"])
def test_a_new_key_is_printed_with_the_new_value_of_the_setting(flask, settings, kind):
    value = settings.jwt_private_keys if kind == "tokens" else settings.field_encryption_keys
    made, again = (json.loads(flask("new", "--for", kind, "--json").stdout) for _ in range(2))

    assert made["key"] != again["key"]
    assert list(read_keys(made["first"]))[:-1] == list(read_keys(value))
    assert list(read_keys(made["then"]))[1:] == list(read_keys(value))
    assert f"{made['setting']}=" in flask("new", "--for", kind).output


def test_key_rotation_signs_no_user_out(flask, stack, database, tenant, api):
    steps = json.loads(flask("new", "--json").stdout)
    apps = [create_app(settings_of(stack, database, jwt_private_keys=steps[step])) for step in ("first", "then")]

    def token(app):
        with app.app_context():
            return app.extensions["campshub"].tokens.issue(
                user_id=api.user_id, organization_id=tenant.id, session_id=new_id(), session_version=1
            )

    # Processes restart one by one: those before and those after the restart must accept each other's tokens.
    for signed_by, read_by in ((api.app, apps[0]), (apps[0], api.app), (apps[0], apps[1]), (apps[1], apps[0])):
        headers = {"Authorization": f"Bearer {token(signed_by)}"}
        assert Client(read_by, headers).get("/api/me/").status == 200
    for app in apps:
        close(app)


NEWER = f"newer:{'A' * 43}"


@dataclass
class Rotation:
    """A database of its own, served by processes with the old field key, with both, and with only the new one."""

    before: Any
    during: Any
    after: Any
    tenant: Tenant
    sql: Any

    def student(self, note: str) -> dict[str, Any]:
        given = {"code": new_id().hex, "given_name": "Asha", "family_name": "Rao", "medical_note": note}
        return self.api(self.before).made("/api/students/", given)

    def api(self, app: Any) -> Client:
        return Client(app, self.tenant.the(Role.ADMIN).headers)

    def reseal(self, app: Any) -> Any:
        return app.test_cli_runner().invoke(args=["keys", "reseal", "--json"])

    def sealed_by(self) -> set[str]:
        """Return the keys that have encrypted a value."""
        rows = self.sql(
            "SELECT split_part(encode(medical_note, 'escape'), '.', 1) FROM students WHERE medical_note IS NOT NULL"
            " UNION ALL SELECT split_part(sealed_key, '.', 1) FROM person_keys WHERE sealed_key IS NOT NULL"
        )
        return {name for (name,) in rows}


@pytest.fixture
def rotation(stack, scratch, settings):
    old = settings.field_encryption_keys
    apps = [
        create_app(settings_of(stack, scratch, field_encryption_keys=keys)) for keys in (old, f"{NEWER},{old}", NEWER)
    ]
    with stack.primary.connect(scratch) as connection:
        yield Rotation(*apps, new_tenant(apps[0]), lambda statement: connection.execute(statement).fetchall())
    for app in apps:
        close(app)


def test_values_encrypted_with_older_keys_are_encrypted_again(rotation, monkeypatch):
    monkeypatch.setattr(encrypted_columns, "_BATCH_SIZE", 2)
    made = [rotation.student(f"Note {number}") for number in range(5)]
    first = f"/api/students/{made[0]['id']}/"
    shown = rotation.api(rotation.before).get(first).json
    assert "newer" not in rotation.sealed_by()

    result = rotation.reseal(rotation.during)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert {*report} == {"students.medical_note", "person_keys.sealed_key", "totp_secrets.sealed_secret"}
    assert report["students.medical_note"]["resealed"] == 5

    assert rotation.sealed_by() == {"newer"}
    client = rotation.api(rotation.after)
    for number, one in enumerate(made):
        assert client.get(f"/api/students/{one['id']}/medical-note/").json["medical_note"] == f"Note {number}"
    assert client.get(first).json == shown  # neither its version nor its time of change has changed
    assert (
        client.get(f"/api/audit/?entity_id={shown['id']}&sort=date").json["items"][0]["after"]["given_name"] == "Asha"
    )
    again = json.loads(rotation.reseal(rotation.during).stdout)
    assert {tally["resealed"] for tally in again.values()} == {0}


def test_a_value_that_no_key_decrypts_is_reported_and_skipped(rotation):
    rotation.student("sealed by another key")
    result = rotation.reseal(rotation.after)

    assert result.exit_code == 1
    assert "FIELD_ENCRYPTION_KEYS" in result.output
    assert "newer" not in rotation.sealed_by()


def test_a_value_that_changes_during_reencryption_is_not_overwritten(rotation, monkeypatch):
    made, reencrypt = rotation.student("before"), encrypted_columns._reencrypted
    url = f"/api/students/{made['id']}/"

    def overtaken(ring, column, values):
        if column.name == "medical_note":
            assert rotation.api(rotation.during).patch(url, {"medical_note": "after"}).status == 200
        return reencrypt(ring, column, values)

    monkeypatch.setattr(encrypted_columns, "_reencrypted", overtaken)
    assert rotation.reseal(rotation.during).exit_code == 0
    assert rotation.api(rotation.during).get(f"{url}medical-note/").json["medical_note"] == "after"
