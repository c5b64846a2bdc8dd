"""Commands suspend, close, export and erase one organization, and touch no other."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import uuid
from datetime import date, timedelta

import pytest

from campshub.accounts.models import Membership
from campshub.accounts.service import exporting, lifecycle
from campshub.core.db.models import Base, new_id
from campshub.core.db.retention import tenant_models
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.permissions import Role
from campshub.modules import load_models
from tests.conftest import ROOT, Client, settings_of
from tests.seeds import seed

TENANTS_TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND attname = 'organization_id' ORDER BY 1
"""
LONG_AGO = "UPDATE organizations SET closed_at = now() - INTERVAL '31 days' WHERE id = %s RETURNING 1"
LATE_EVENT = (
    "INSERT INTO security_events (organization_id, id, at, kind, trace_id) VALUES (%s, %s, now(), 'x', 'x') RETURNING 1"
)


@pytest.fixture
def flask(app):
    """Run a command; return click's result."""
    return lambda *arguments, **options: app.test_cli_runner().invoke(args=("organizations", *arguments), **options)


def json_of(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def closed(app, flask, sql):
    """Create a fully seeded organization that was closed long ago."""

    def make(word="Wombat"):
        seeds = seed(app, word)
        assert flask("close", "--organization", str(seeds.tenant.id), "--yes").exit_code == 0
        sql(LONG_AGO, seeds.tenant.id)
        return seeds

    return make


def counts_of(sql, organization_id):
    """Return the number of an organization's rows by table, without tables that have none."""
    found = {t: sql(f"SELECT count(*) FROM {t} WHERE organization_id = %s", organization_id)[0][0] for (t,) in
             sql(TENANTS_TABLES)}  # fmt: skip
    return {table: count for table, count in found.items() if count}


def bytes_of(sql, organization_id):
    """Return every row of an organization and of its users as text."""
    rows = {
        table: sql(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t WHERE organization_id = %s",
                   organization_id)
        for (table,) in sql(TENANTS_TABLES)
    }  # fmt: skip
    rows["organizations"] = sql("SELECT o::text FROM organizations o WHERE id = %s", organization_id)
    members = "SELECT user_id FROM memberships WHERE organization_id = %s"
    for table, key in (("users", "id"), ("user_credentials", "user_id"), ("external_identities", "user_id")):
        rows[table] = sql(f"SELECT t::text FROM {table} t WHERE {key} IN ({members}) ORDER BY 1", organization_id)
    return rows


# States --------------------------------------------------------------------------------------------------------------


def test_an_organization_is_suspended_resumed_and_closed(flask, api, tenant):
    arguments = ("--organization", str(tenant.id))
    seen = []
    for command in (("suspend",), ("resume",), ("close", "--yes"), ("resume",)):
        json_of(flask(*command, *arguments, "--json"))
        seen.append(api.get("/api/organization/").status)

    assert seen == [403, 200, 403, 200]


def test_closing_an_organization_requires_confirmation(flask, api, tenant):
    result = flask("close", "--organization", str(tenant.id), input="n\n")

    assert result.exit_code == 1
    assert api.get("/api/organization/").status == 200


@pytest.mark.parametrize("command", ["suspend", "resume", "close", "export", "erase-closed"])
def test_a_missing_organization_is_reported_in_one_line(flask, tmp_path, command):
    more = {"close": ["--yes"], "erase-closed": ["--yes"], "export": ["--output", str(tmp_path / "out")]}
    result = flask(command, "--organization", str(uuid.uuid4()), *more.get(command, []))

    assert result.exit_code == 1
    assert len(result.output.strip().splitlines()) == 1


# Exporting -----------------------------------------------------------------------------------------------------------


def lines_of(folder, table):
    return [json.loads(line) for line in (folder / f"{table}.ndjson").read_bytes().splitlines()]


def test_an_export_contains_every_row_of_the_organization_and_no_other(app, flask, sql, tmp_path):
    own, foreign = seed(app, "Quokkabound"), seed(app, "Zanzibarian")
    folder = tmp_path / "out"
    before = counts_of(sql, own.tenant.id)

    manifest = json_of(flask("export", "--organization", str(own.tenant.id), "--output", str(folder), "--json"))

    assert manifest == json.loads((folder / "manifest.json").read_bytes())
    assert manifest["files"].keys() == {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert manifest["files"].keys() == {f"{t}.ndjson" for (t,) in sql(TENANTS_TABLES)} | {
        "organizations.ndjson", "users.ndjson",
    }  # fmt: skip
    for name, file in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert file["rows"] == content.count(b"\n")
    before["audit_log"] += 1  # the export is recorded
    rows = {name.removesuffix(".ndjson"): file["rows"] for name, file in manifest["files"].items() if file["rows"]}
    assert {table: rows[table] for table in before} == before
    assert {row["id"] for row in lines_of(folder, "organizations")} == {str(own.tenant.id)}
    whole = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"Zanzibarian" not in whole
    assert not [one for one in foreign.everything if one.encode() in whole]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_an_export_decrypts_values_and_omits_credentials(app, flask, sql, tmp_path):
    seeds, folder = seed(app, "Quokka"), tmp_path / "out"
    admin = seeds.tenant.the(Role.ADMIN)
    url = f"/api/students/{seeds.ids['student_id']}/"
    assert admin.patch(url, {"given_name": "Changed Quokka", "medical_note": "asthma"}).status == 200

    json_of(flask("export", "--organization", str(seeds.tenant.id), "--output", str(folder), "--json"))

    notes = {row["id"]: row["medical_note"] for row in lines_of(folder, "students")}
    assert notes[seeds.ids["student_id"]] == "asthma"
    changes = [row for row in lines_of(folder, "audit_log") if row["entity_id"] == seeds.ids["student_id"]]
    assert [row["after"]["given_name"] for row in changes if "given_name" in (row["after"] or {})] == [
        "Given Quokka", "Changed Quokka",
    ]  # fmt: skip
    assert b'"sealed"' not in (folder / "audit_log.ndjson").read_bytes()
    for table, secrets in (
        ("sign_in_sessions", {"refresh_hash", "previous_hash"}),
        ("invitations", {"token_hash"}),
        ("person_keys", {"sealed_key"}),
    ):
        assert lines_of(folder, table)
        assert not secrets & lines_of(folder, table)[0].keys()
    exported = "SELECT 1 FROM audit_log WHERE organization_id = %s AND action = 'exported'"
    assert len(sql(exported, seeds.tenant.id)) == 1


def test_an_export_is_a_consistent_snapshot(app, flask, sql, tmp_path, monkeypatch):
    seeds, folder, write = seed(app, "Quokka"), tmp_path / "out", exporting._write
    before = counts_of(sql, seeds.tenant.id)["students"]

    def interrupted(path, parts):
        written = write(path, parts)
        if path.name == "users.ndjson":
            late = {"code": "late", "given_name": "Asha", "family_name": "Rao"}
            seeds.tenant.the(Role.ADMIN).made("/api/students/", late)
        return written

    monkeypatch.setattr(exporting, "_write", interrupted)
    json_of(flask("export", "--organization", str(seeds.tenant.id), "--output", str(folder), "--json"))

    assert len(lines_of(folder, "students")) == before
    assert counts_of(sql, seeds.tenant.id)["students"] == before + 1
    assert "late" not in {row["code"] for row in lines_of(folder, "students")}


def test_erased_personal_values_are_not_in_an_export(app, flask, sql, tmp_path):
    seeds, folder = seed(app, "Quokka"), tmp_path / "out"
    student = uuid.UUID(seeds.ids["student_id"])
    sql("UPDATE person_keys SET sealed_key = NULL WHERE id = %s RETURNING 1", student)

    json_of(flask("export", "--organization", str(seeds.tenant.id), "--output", str(folder), "--json"))

    made = next(r for r in lines_of(folder, "audit_log") if r["person_id"] == str(student) and r["action"] == "created")
    assert made["after"]["given_name"] == {"erased": True}


def test_an_export_requires_an_empty_folder(flask, tenant, tmp_path):
    (tmp_path / "mine").write_text("untouched")

    result = flask("export", "--organization", str(tenant.id), "--output", str(tmp_path))

    assert result.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_columns_with_tokens_or_encrypted_values_are_declared():
    """A new column with such a name fails here until it is declared whether exports decrypt it or omit it."""
    load_models()
    unmarked = [
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        if "organization_id" in table.columns
        for column in table.columns
        if any(word in column.name for word in ("hash", "sealed", "secret", "token"))
        and not {"secret", "sealed"} & column.info.keys()
    ]

    assert unmarked == []


# Erasing -------------------------------------------------------------------------------------------------------------


def test_every_table_with_rows_of_organizations_is_erased(sql):
    load_models()

    assert sorted(model.__tablename__ for model in tenant_models()) == [table for (table,) in sql(TENANTS_TABLES)]


def but_notes(counts):
    """Leave out what triggers write: erasing the source rows of these notes creates more, and erases them too."""
    return {table: n for table, n in counts.items() if not table.endswith("_stale") and table != "change_sets"}


def test_an_organization_is_erased_with_all_its_rows(app, flask, closed, sql):
    untouched = seed(app, "Quokka")
    seeds = closed()
    shared, alone = seeds.tenant.the(Role.TRAINER).user_id, seeds.tenant.the(Role.ADMIN).user_id
    with app.app_context(), unit_of_work(system=True, organization_id=untouched.tenant.id) as session:
        session.add(Membership(organization_id=untouched.tenant.id, user_id=shared, role="trainer"))
    before, own = bytes_of(sql, untouched.tenant.id), counts_of(sql, seeds.tenant.id)
    months = "SELECT count(DISTINCT tableoid) FROM workout_logs WHERE organization_id = %s"
    assert {"attendance_records", "audit_log", "security_events", "workout_sets", "outbox"} <= own.keys()
    assert sql(months, seeds.tenant.id)[0][0] >= 1

    result = json_of(flask("erase-closed", "--organization", str(seeds.tenant.id), "--batch", "7", "--yes", "--json"))

    assert counts_of(sql, seeds.tenant.id) == {}
    assert sql("SELECT 1 FROM organizations WHERE id = %s", seeds.tenant.id) == []
    assert bytes_of(sql, untouched.tenant.id) == before
    assert sql("SELECT id FROM users WHERE id = ANY(%s)", [shared, alone]) == [(shared,)]
    assert sql("SELECT 1 FROM user_credentials WHERE user_id = %s", alone) == []
    ((counts, finished),) = sql(
        "SELECT counts, finished_at IS NOT NULL FROM organization_erasures WHERE id = %s", seeds.tenant.id
    )
    assert finished
    assert {table: counts[table] for table in but_notes(own)} == but_notes(own)
    assert result["erased"][str(seeds.tenant.id)] >= sum(own.values())
    assert untouched.tenant.the(Role.ADMIN).get("/api/students/").status == 200
    assert seeds.tenant.the(Role.ADMIN).get("/api/me/").status == 401


def test_only_organizations_closed_long_enough_are_erased(flask, tenant, sql):
    arguments = ("erase-closed", "--organization", str(tenant.id), "--yes")
    active = flask(*arguments)
    assert flask("close", "--organization", str(tenant.id), "--yes").exit_code == 0
    early = flask(*arguments)
    everyone = flask("erase-closed", "--yes")
    sql(LONG_AGO, tenant.id)
    declined = flask("erase-closed", "--organization", str(tenant.id), input="n\n")

    assert (active.exit_code, early.exit_code, everyone.exit_code, declined.exit_code) == (1, 1, 0, 1)
    assert "not closed" in active.output
    assert "closed too recently" in early.output
    assert sql("SELECT status FROM organizations WHERE id = %s", tenant.id) == [("closed",)]
    assert flask("erase-closed", "--yes").exit_code == 0
    assert sql("SELECT status FROM organizations WHERE id = %s", tenant.id) == []


def test_a_killed_erasure_continues_and_cannot_be_undone(app, stack, database, flask, closed, sql):
    untouched, seeds = seed(app, "Quokka"), closed()
    before, own = bytes_of(sql, untouched.tenant.id), counts_of(sql, seeds.tenant.id)
    settings = settings_of(stack, database).model_dump()
    environment = {name.upper(): str(value) for name, value in settings.items() if value is not None}
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "organizations", "erase-closed"]
    command += ["--organization", str(seeds.tenant.id), "--batch", "3", "--yes"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    ) as running:
        steps = 0
        for line in running.stderr:
            steps += " rows" in line
            if steps == 5:
                running.send_signal(signal.SIGKILL)
                break
        running.wait()

    left = counts_of(sql, seeds.tenant.id)
    ((counted,),) = sql("SELECT counts FROM organization_erasures WHERE id = %s", seeds.tenant.id)
    assert 0 < sum(but_notes(left).values()) < sum(but_notes(own).values())
    # The counts are those of the erased rows, at whichever statement the process was killed.
    gone = {t: own[t] - left.get(t, 0) for t in but_notes(own) if own[t] != left.get(t, 0)}
    assert gone == but_notes(counted)
    resumed = flask("resume", "--organization", str(seeds.tenant.id))
    assert (resumed.exit_code, "being erased" in resumed.output) == (1, True)
    json_of(flask("erase-closed", "--yes", "--json"))
    assert counts_of(sql, seeds.tenant.id) == {}
    ((counts,),) = sql("SELECT counts FROM organization_erasures WHERE id = %s", seeds.tenant.id)
    assert {table: counts[table] for table in but_notes(own)} == but_notes(own)
    assert bytes_of(sql, untouched.tenant.id) == before


def test_rows_added_during_an_erasure_are_erased_too(app, closed, sql, flask, monkeypatch):
    """A wrong password of one of its users is recorded until the user is erased."""
    seeds = closed()
    email = sql(
        "SELECT u.email FROM users u JOIN memberships m ON m.user_id = u.id WHERE m.organization_id = %s AND m.role ="
        " 'admin'",
        seeds.tenant.id,
    )[0][0]
    erase_next, tried = lifecycle.erase_next, []

    def interrupted(session, **given):
        step = erase_next(session, **given)
        if step is not None and step[0] == "security_events" and not tried:
            tried.append(Client(app).post("/api/auth/token/", {"email": email, "password": "wrong"}).status)
        return step

    erase_row = lifecycle.erase_row

    def leaving(session, model, row_id):
        if sql("SELECT 1 FROM organizations WHERE id = %s", row_id):  # a request from before has inserted this row
            sql(LATE_EVENT, row_id, new_id())
        return erase_row(session, model, row_id)

    monkeypatch.setattr(lifecycle, "erase_next", interrupted)
    monkeypatch.setattr(lifecycle, "erase_row", leaving)
    json_of(flask("erase-closed", "--organization", str(seeds.tenant.id), "--yes", "--json"))

    assert tried == [401]
    assert counts_of(sql, seeds.tenant.id) == {}


def test_rows_of_many_months_are_erased(app, flask, closed, sql):
    seeds = closed()
    today = date.today()  # noqa: DTZ011 - one day more or less does not matter
    for days in (0, 70, 140):
        sql(
            "INSERT INTO audit_log (organization_id, recorded_on, id, at, trace_id, action, entity, entity_id)"
            " VALUES (%s, %s, %s, now(), 'x', 'created', 'students', %s) RETURNING 1",
            seeds.tenant.id, today + timedelta(days=days), new_id(), new_id(),
        )  # fmt: skip
    spread = sql("SELECT count(DISTINCT tableoid) FROM audit_log WHERE organization_id = %s", seeds.tenant.id)
    assert spread == [(3,)]

    json_of(flask("erase-closed", "--organization", str(seeds.tenant.id), "--yes", "--json"))

    assert counts_of(sql, seeds.tenant.id) == {}


def test_the_help_of_each_command_has_an_example(flask):
    for command in ("suspend", "resume", "close", "export", "erase-closed"):
        assert "Example: flask organizations" in flask(command, "--help").output


def test_an_organization_has_a_visible_name(flask):
    for name in ("\u200b", "Hill\u202eCamp", ""):
        result = flask("create", "--name", name)
        assert result.exit_code == 2, result.output
        assert "Invalid value for '--name'" in result.output
