"""The flask commands, as an administrator types them."""

import json
import uuid

import pytest

from campshub.core.db.models import new_id
from tests.conftest import PASSWORD
from tests.issuer import the_issuer

UNREACHABLE = json.dumps([{"issuer": "http://127.0.0.1:1", "audiences": ["ours"]}])


@pytest.fixture
def flask(app):
    """Run a command; return click's result."""
    return lambda *arguments, **options: app.test_cli_runner().invoke(args=arguments, **options)


def test_an_organization_and_its_admin_are_created_and_can_sign_in(app, flask):
    made = flask("organizations", "create", "--name", "Hill Camp", "--time-zone", "Asia/Kolkata", "--json")
    organization_id = json.loads(made.stdout)["id"]
    email = f"head-{new_id().hex}@example.org"
    arguments = ("users", "create-admin", "--organization", organization_id, "--email", email)
    admin = flask(*arguments, input="correct horse battery\ncorrect horse battery\n")

    assert (made.exit_code, admin.exit_code) == (0, 0), admin.output
    response = app.test_client().post("/api/auth/token/", json={"email": email, "password": "correct horse battery"})
    assert response.status_code == 200
    assert response.json["organization_id"] == organization_id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("organizations", "create", "--name", "X", "--time-zone", "Mars/Olympus"), "Mars/Olympus is not a time zone"),
        (
            ("users", "create-admin", "--organization", str(uuid.uuid4()), "--email", "a@example.org"),
            "There is no organization",
        ),
        (("users", "create-admin", "--organization", "not-a-uuid", "--email", "a@example.org"), "is not a valid UUID"),
        (("partitions", "ensure", "--table", "students"), "students is not partitioned; the partitioned tables are:"),
        (("demo", "seed", "--students", "0"), "not in the range"),
        (("partitions", "ensure", "--months", "100000"), "not in the range"),
    ],
)
def test_an_invalid_command_explains_its_mistake_in_one_line(flask, arguments, message):
    result = flask(*arguments, input="long enough password\nlong enough password\n")

    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.fixture
def signed_in(app, api):
    """An admin's email address, and their tokens."""
    email = api.get("/api/me/").json["email"]
    return email, app.test_client().post("/api/auth/token/", json={"email": email, "password": PASSWORD}).json


def opens(app, tokens):
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    return app.test_client().get("/api/organization/", headers=headers).status_code


def test_a_users_password_is_reset_and_their_sessions_end(app, flask, signed_in):
    email, tokens = signed_in
    assert opens(app, tokens) == 200

    bad = flask("users", "reset-password", "--email", email, "--password", "password1234")
    done = flask("users", "reset-password", "--email", email.upper(), "--password", "wrong donkey charger")

    assert (bad.exit_code, done.exit_code) == (1, 0), done.output
    assert opens(app, tokens) == 401
    body = {"email": email, "password": "wrong donkey charger"}
    assert app.test_client().post("/api/auth/token/", json=body).status_code == 200


def test_a_user_is_signed_out_everywhere(app, flask, signed_in):
    email, tokens = signed_in
    assert opens(app, tokens) == 200

    assert flask("users", "sign-out", "--email", email).exit_code == 0

    assert opens(app, tokens) == 401
    unknown = flask("users", "sign-out", "--email", "unknown@example.org")
    assert (unknown.exit_code, "No one" in unknown.output) == (1, True)


def test_a_short_password_is_refused(flask, tenant):
    result = flask(
        *("users", "create-admin", "--organization", str(tenant.id), "--email", "a@example.org", "--password", "short")
    )

    assert result.exit_code == 1
    assert "At least 12 characters" in result.output


def test_an_email_address_belongs_to_one_user(flask, tenant):
    email = f"twice-{new_id().hex}@example.org"
    arguments = ("users", "create-admin", "--organization", str(tenant.id), "--email", email)
    results = [flask(*arguments, "--password", "long enough password") for _ in range(2)]

    assert [result.exit_code for result in results] == [0, 1]
    assert "Another user has this e-mail address." in results[1].output


def test_partitions_are_listed_and_created_and_the_second_run_creates_none(flask, sql):
    before = json.loads(flask("partitions", "list", "--json").stdout)
    assert {"attendance_records", "audit_log", "workout_logs", "workout_sets"} <= {p["table"] for p in before}

    month = ("--from", "2024-05-17", "--table", "attendance_records")
    ensure = ("partitions", "ensure", "--months", "9", *month, "--json")
    made, again = (json.loads(flask(*ensure).stdout)["made"] for _ in range(2))

    assert "attendance_records_p2024_05" in made
    assert again == []
    forced = sql(
        "SELECT relrowsecurity, relforcerowsecurity, relacl IS NULL FROM pg_class WHERE relname = ANY(%s)", made
    )
    assert set(forced) == {(True, True, True)}
    assert "attendance_records_p2024_05" in flask("partitions", "list").output


def test_check_config_checks_each_part_of_the_settings(flask):
    result = flask("check-config", "--json")

    assert result.exit_code == 0, result.output
    found = {line["what"].partition(" as ")[0]: line["problem"] for line in json.loads(result.stdout)}
    databases = {f"database: {name}" for name in ("primary", "replica0", "system", "maintenance", "migrator")}
    assert databases | {"redis: cache", "redis: broker", "archive", f"issuer: {the_issuer().url}"} <= found.keys()
    assert {name.partition(":")[0] for name in found} >= {"files", "mail", "links"}
    assert set(found.values()) == {None}


def test_check_config_fails_for_parts_that_do_not_respond(stack, database):
    from campshub.app import create_app  # noqa: PLC0415 - this test alone makes an application of its own
    from tests.conftest import close, settings_of  # noqa: PLC0415 - see above

    broken = create_app(settings_of(stack, database, celery_broker_url="redis://127.0.0.1:1/0"))
    result = broken.test_cli_runner().invoke(args=["check-config"])
    close(broken)

    assert result.exit_code == 1
    assert "FAIL redis: broker" in result.output
    assert "ok   redis: cache" in result.output


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mail_folder": "/proc/mail"}, "FAIL mail: folder /proc/mail"),
        ({"smtp_url": "smtp://user:whisper@127.0.0.1:1"}, "FAIL mail: SMTP_URL"),
        ({"storage_url": "/proc/storage"}, "FAIL files: /proc/storage"),
        ({"archive_url": "/proc/archive"}, "FAIL archive"),
        ({"postgres_migrator_password": "whisper"}, "FAIL database: migrator"),
        ({"oidc_issuers": UNREACHABLE}, "FAIL issuer: http://127.0.0.1:1: its keys cannot be read"),
        ({"public_url": "https://elsewhere.example"}, "elsewhere.example, is not in ALLOWED_HOSTS"),
        ({"public_url": "no address"}, "FAIL links: no address"),
    ],
)
def test_check_config_reports_settings_that_would_fail_later(stack, database, given, message):
    from campshub.app import create_app  # noqa: PLC0415 - see above
    from tests.conftest import close, settings_of  # noqa: PLC0415 - see above

    broken = create_app(settings_of(stack, database, **given))
    result = broken.test_cli_runner().invoke(args=["check-config"])
    close(broken)

    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("FAIL") == 1
    assert "whisper" not in result.output


def test_demo_data_is_the_same_for_the_same_seed_and_created_once(app, flask, sql, tmp_path):
    credentials = tmp_path / "demo.json"
    arguments = ("demo", "seed", "--students", "40", "--days", "6", "--credentials", str(credentials))
    made, again = flask(*arguments), flask(*arguments)

    assert made.exit_code == 0, made.output
    assert again.exit_code == 1
    assert "The demo data already exists" in again.output
    sign = json.loads(credentials.read_text())
    assert credentials.stat().st_mode & 0o077 == 0
    for who in (sign, sign["other"]):
        response = app.test_client().post("/api/auth/token/", json={name: who[name] for name in ("email", "password")})
        assert (response.status_code, response.json["organization_id"]) == (200, who["organization_id"])
    named = sql("SELECT given_name, family_name FROM students WHERE organization_id = %s AND code = 'S-00001'",
                uuid.UUID(sign["organization_id"]))  # fmt: skip
    assert len(named) == 1
    orphans = sql(
        "SELECT count(*) FROM attendance_records r LEFT JOIN attendance_sessions s"
        " ON (s.organization_id, s.id) = (r.organization_id, r.session_id) AND s.local_date = r.local_date"
        " WHERE s.id IS NULL"
    )
    assert orphans == [(0,)]
