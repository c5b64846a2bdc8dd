"""Every change is in the audit log: who, when, from where, before and after; personal values are encrypted."""

import json
import uuid
from datetime import date

import psycopg
import pytest

from campshub.core.db import writes
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security import audit
from campshub.core.security.crypto import DecryptionFailed
from campshub.core.security.permissions import Role
from campshub.students.models import Group, Student
from campshub.students.names import group_keys
from devstack import keys
from tests.conftest import NOW

CANARY = "Quetzalcoatlus"


def entries(sql, tenant, entity_id=None):
    found = sql(
        "SELECT action, entity, entity_id, user_id, address, trace_id, before, after, at, person_id FROM audit_log"
        " WHERE organization_id = %s AND (%s::uuid IS NULL OR entity_id = %s) ORDER BY id",
        tenant.id,
        entity_id,
        entity_id,
    )
    names = ("action", "entity", "entity_id", "user_id", "address", "trace_id", "before", "after", "at", "person_id")
    return [dict(zip(names, row, strict=True)) for row in found]


def key_of(app, tenant, person, sql):
    sealed = sql("SELECT sealed_key FROM person_keys WHERE organization_id = %s AND id = %s", tenant.id, person)[0][0]
    return audit.unwrap_person_key(app.extensions["campshub"].ring, tenant.id, person, sealed)


def test_each_change_of_an_entity_adds_one_entry(api, tenant, student, sql):
    made = student(code="S-1", status="lead")
    address, person = f"/api/students/{made['id']}/", uuid.UUID(made["id"])
    trace = "0af7651916cd43dd8448eb211c80319c"
    api.patch(address, {"status": "active"}, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    api.patch(address, {"status": "active"})  # no change
    api.delete(address)

    created, changed, deleted = entries(sql, tenant, person)

    assert [e["action"] for e in (created, changed, deleted)] == ["created", "changed", "changed"]
    assert all(
        e["entity"] == "students" and e["user_id"] == api.user_id and e["person_id"] == person
        for e in (created, changed, deleted)
    )
    assert created["before"] is None
    assert (created["after"]["code"], created["after"]["status"]) == ("S-1", "lead")
    assert (changed["before"], changed["after"]) == ({"status": "lead"}, {"status": "active"})
    assert (changed["trace_id"], changed["address"]) == (trace, "127.0.0.1")
    assert deleted["before"] == {"deleted_at": None}


def test_a_removed_row_leaves_its_last_values(context, tenant, api, sql):
    group = api.made("/api/groups/", {"code": "G", "name": "Group"})
    group_id = uuid.UUID(group["id"])

    with unit_of_work(organization_id=tenant.id) as session:
        session.delete(session.get(Group, (tenant.id, group_id)))

    *_, removed = entries(sql, tenant, group_id)
    assert (removed["action"], removed["after"]) == ("deleted", None)
    assert removed["before"]["name"] == "Group"
    assert removed["user_id"] is None


def test_set_based_writes_are_logged_as_well(context, tenant, sql):
    def group(group_id, name):
        keys = group_keys("G", name)
        return {"id": group_id, "code": "G", "name": name, **keys, "kind": "class", "status": "active"}

    first = new_id()
    options = {"key": ("code",), "change": ("name", "status"), "when": "groups.name <> excluded.name"}
    with unit_of_work(organization_id=tenant.id) as session:
        writes.insert(session, Group, [group(first, "One")])
    with unit_of_work(organization_id=tenant.id) as session:
        assert writes.merge(session, Group, [group(new_id(), "One")], **options) == []
        (merged,) = writes.merge(session, Group, [group(new_id(), "Two")], **options)

    assert (merged.id, merged.version, merged.made) == (first, 2, False)
    created, changed = entries(sql, tenant, first)
    assert (created["action"], created["after"]["name"]) == ("created", "One")
    assert (changed["action"], changed["before"], changed["after"]) == ("changed", {"name": "One"}, {"name": "Two"})


def test_no_personal_value_is_readable_in_any_stored_row(api, tenant, student, sql, stack, database):
    made = student(
        given_name=CANARY, family_name=CANARY, preferred_name=CANARY, email=f"{CANARY}@example.org", phone=CANARY,
        medical_note=CANARY, address={"locality": CANARY}, guardians=[{"name": CANARY}], gender=CANARY,
        emergency_contacts=[{"name": CANARY, "phone": CANARY}],
    )  # fmt: skip
    address = f"/api/students/{made['id']}/"
    api.patch(address, {"given_name": f"Not {CANARY}", "medical_note": f"No {CANARY}"})
    api.patch(address, {"given_name": "Plain", "guardians": [], "medical_note": None})
    api.post("/api/students/bulk/", {"students": [{"code": "B", "given_name": CANARY, "family_name": CANARY}]})
    api.patch("/api/me/", {"name": CANARY})

    tables = [
        row[0]
        for row in sql(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
            " AND NOT relispartition"
        )
    ]
    holding = {
        table for table in tables
        if sql(f"SELECT 1 FROM {table} t WHERE t::text ILIKE %s OR encode(t::text::bytea, 'escape') ILIKE %s LIMIT 1",
               f"%{CANARY}%", f"%{CANARY}%")
    }  # fmt: skip
    hexed = CANARY.encode().hex()
    sealed_notes = sql("SELECT medical_note FROM students WHERE organization_id = %s", tenant.id)

    assert {"students", "users"} <= holding
    assert not holding & {"audit_log", "outbox", "person_keys", "idempotency_keys"}
    assert not sql("SELECT 1 FROM audit_log t WHERE t::text LIKE %s", f"%{hexed}%")
    assert all(note is None or CANARY.encode() not in note for (note,) in sealed_notes)


def test_only_a_persons_own_key_decrypts_their_values(app, api, tenant, student, sql):
    first, second = student(given_name=CANARY), student(given_name="Else")
    person, another = uuid.UUID(first["id"]), uuid.UUID(second["id"])
    sealed = entries(sql, tenant, person)[0]["after"]["given_name"]["sealed"]

    opened = audit.unseal("students", person, "given_name", sealed, key_of(app, tenant, person, sql))

    assert opened == CANARY
    with pytest.raises(DecryptionFailed):
        audit.unseal("students", person, "given_name", sealed, key_of(app, tenant, another, sql))
    with pytest.raises(DecryptionFailed):  # nor does it decrypt in another location
        audit.unseal("students", person, "family_name", sealed, key_of(app, tenant, person, sql))


def test_destroying_a_persons_key_erases_their_values_in_the_log(app, api, tenant, student, sql):
    made = student(given_name=CANARY)
    person = uuid.UUID(made["id"])
    sql(
        "UPDATE person_keys SET sealed_key = NULL WHERE organization_id = %s AND id = %s RETURNING 1", tenant.id, person
    )

    assert api.patch(f"/api/students/{person}/", {"given_name": "Other", "status": "alumni"}).status == 200

    changed = entries(sql, tenant, person)[-1]
    assert changed["before"]["given_name"] == changed["after"]["given_name"] == {"erased": True}
    assert changed["after"]["status"] == "alumni"
    keys_left = sql("SELECT sealed_key FROM person_keys WHERE organization_id = %s AND id = %s", tenant.id, person)
    assert keys_left == [(None,)]


def test_the_first_change_of_a_person_creates_their_key(app, api, tenant, sql):
    assert api.patch("/api/me/", {"name": CANARY}).status == 200

    entry = entries(sql, tenant, api.user_id)[-1]
    opened = audit.unseal(
        "users", api.user_id, "name", entry["after"]["name"]["sealed"], key_of(app, tenant, api.user_id, sql)
    )
    assert opened == CANARY


def test_the_application_can_only_append_to_the_log(stack, database, tenant, student):
    student()
    address = stack.primary.dsn(database).rpartition("@")[2]
    with psycopg.connect(
        f"postgresql://{keys.role('app')}:{keys.load(stack.workspace)['app']}@{address}"
    ) as connection:
        for statement in ("UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement)


def test_lists_add_no_entry_and_refused_changes_leave_none(api, tenant, student, sql):
    made = student(code="S-1")
    student(code="S-2")
    before = entries(sql, tenant)

    api.get("/api/students/")
    assert api.patch(f"/api/students/{made['id']}/", {"code": "S-2"}).status == 409
    assert tenant.the(Role.TRAINER).patch(f"/api/students/{made['id']}/", {"code": "S-3"}).status == 403

    assert [e for e in entries(sql, tenant) if e["entity"] == "students"] == [
        e for e in before if e["entity"] == "students"
    ]


def test_every_audited_table_declares_the_person_of_its_personal_columns():
    from campshub.core.db.models import Base  # noqa: PLC0415 - all models are loaded by then

    silent = [
        mapper.class_.__name__
        for mapper in Base.registry.mappers
        if mapper.class_.__audited__
        and audit.personal_columns(mapper.class_)
        and getattr(mapper.class_, "__person__", None) not in mapper.columns
    ]

    assert silent == []
    assert Student.__person__ == "id"


def test_dates_and_bytes_are_encrypted_as_json(app, tenant):
    after = {"born": date(2010, 1, 2), "note": b"\x00\xff"}
    change = audit.Change("created", "students", tenant.id, tenant.id, None, after,
                          frozenset({"born", "note"}))  # fmt: skip
    key = bytes(32)
    sealed = audit.sealed_values(change, change.after, key)

    assert json.dumps(sealed)
    assert audit.unseal("students", tenant.id, "born", sealed["born"]["sealed"], key) == "2010-01-02"
    assert audit.unseal("students", tenant.id, "note", sealed["note"]["sealed"], key) == "00ff"
    assert NOW
