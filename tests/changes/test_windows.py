"""Nothing is missed: transactions that end in another order than they began, crashes, other databases, retention."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from campshub.changes.models import STORED_DAYS, ChangeSet
from campshub.changes.queries.access import present
from campshub.changes.queries.feeds import FEEDS, STUDENTS
from campshub.changes.tokens import VALID_FOR, seal, unseal
from campshub.changes.windows import Window
from campshub.core.db import writes
from campshub.core.db.models import new_id
from campshub.core.db.retention import clean, expiries
from campshub.core.db.session import Unit, begin
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.errors import Unavailable
from campshub.core.security.principal import Principal
from campshub.students.models import Group

URL, OF_GROUPS = "/api/students/changes/", "/api/groups/changes/"


def new_group():
    """Return the values of a group, with an id."""
    name = new_id().hex
    return {"id": new_id(), "code": name, "name": name, "sort_name": name, "search_text": name, "kind": "class"}


def test_a_transaction_that_commits_late_is_not_missed(context, tenant, copy, group):
    groups, late = copy(OF_GROUPS), new_group()
    with unit_of_work(organization_id=tenant.id) as session:
        writes.insert(session, Group, [late | {"status": "active"}])
        first = group()["id"]
        assert groups.follow().changed == [first], "a response before it has not waited for it"
        second = group()["id"]
        assert groups.follow().changed == [second]

    assert groups.follow().changed == [str(late["id"])]
    assert groups.follow().changed == []


def test_a_transaction_that_is_rolled_back_is_not_reported(context, tenant, copy):
    groups = copy(OF_GROUPS)
    with pytest.raises(ZeroDivisionError), unit_of_work(organization_id=tenant.id) as session:
        writes.insert(session, Group, [new_group() | {"status": "active"}])
        groups.follow()
        raise ZeroDivisionError

    assert (groups.follow().changed, groups.deleted) == ([], [])


def test_a_transaction_that_commits_between_two_pages_is_not_missed(context, tenant, copy, group):
    groups, late = copy(OF_GROUPS, limit=1), new_group()
    with unit_of_work(organization_id=tenant.id) as session:
        writes.insert(session, Group, [late | {"status": "active"}])
        made = [group(trainers=())["id"] for _ in range(3)]
        page = groups.page().json
        groups.token = page["next"]
    assert ([item["id"] for item in page["items"]], page["has_more"]) == (made[:1], True)

    assert groups.follow().changed == made[1:]
    assert groups.follow().changed == [str(late["id"])]


def test_a_window_ends_with_a_committed_transaction():
    """PostgreSQL may assign the number of a later one again after a crash."""
    assert Window.of("100:120:100,105,110", 107) == Window(100, 107, (100, 105))
    assert Window.of("120:120:", 107) == Window(108, 107, ())
    assert Window.unpacked(Window(100, 107, (100, 105)).packed()) == Window(100, 107, (100, 105))


def changed(copied, app, tenant, **changes):
    """Change what a copy's token says."""
    cursors, bound_to = app.extensions["campshub"].cursors, (tenant.id, ["students"], None)
    token = unseal(cursors, copied.token, *bound_to)
    since = replace(token.since, at=changes.pop("at", token.since.at))
    copied.token = seal(cursors, replace(token, since=since, **changes), *bound_to)
    return copied.page()


def test_a_token_of_another_database_or_timeline_is_refused(app, tenant, copy):
    students = copy(URL)
    database = unseal(app.extensions["campshub"].cursors, students.token, tenant.id, ["students"], None).database
    system, timeline, number = database.split("-")

    assert changed(students, app, tenant, database=f"{system}-{timeline[:-1]}F-{number}").problem["code"] == (
        "resync_required"
    )


def test_an_expired_token_is_refused_before_its_change_sets_are_deleted(app, tenant, copy):
    students, now = copy(URL), datetime.now(UTC)

    assert changed(students, app, tenant, at=now - VALID_FOR + timedelta(minutes=1)).status == 200
    assert changed(students, app, tenant, at=now - VALID_FOR - timedelta(minutes=1)).status == 410
    assert timedelta(days=STORED_DAYS - 1) >= VALID_FOR


def test_old_change_sets_are_deleted_and_copies_continue(scratch_app, scratch_sql):
    (expiry,) = [one for one in expiries() if one.model is ChangeSet]
    insert = (
        "INSERT INTO change_sets (organization_id, entity, transaction_id, is_removed, ids, recorded_at)"
        " VALUES (gen_random_uuid(), 'students', %s, false, '{}', now() - %s * interval '1 day') RETURNING 1"
    )
    for number, days in ((5, STORED_DAYS + 1), (6, STORED_DAYS - 1)):
        scratch_sql(insert, number, days)
    with scratch_app.app_context(), unit_of_work(system=True) as session:
        assert clean(session, expiry, most=100) == 1
    assert scratch_sql("SELECT transaction_id FROM change_sets WHERE ids = '{}'") == [(6,)]


def test_a_copy_continues_after_all_its_change_sets_were_deleted(api, sql, tenant, copy, student, stack, database):
    first = student()["id"]
    students = copy(URL)
    with stack.primary.connect(database) as connection:
        connection.execute("DELETE FROM change_sets WHERE organization_id = %s", [tenant.id])
    assert students.follow().changed == []
    second = student()["id"]

    assert students.follow().changed == [second]
    assert students.items.keys() == {first, second}


def test_a_standby_is_not_read(app, context, tenant, api):
    """Its snapshots do not name the running transactions."""
    services = app.extensions["campshub"]
    name = next(name for name in services.engines if name not in (None, "system"))
    unit = Unit(engine=services.engines[name], organization_id=tenant.id, checks_caller=False)
    principal = Principal(api.user_id, tenant.id, "admin", "UTC")
    session = begin(unit)
    try:
        with pytest.raises(Unavailable):
            present(session, principal, [STUDENTS])
    finally:
        session.close()


def test_snapshots_of_a_standby_do_not_name_running_transactions(context, tenant, stack, database, group):
    """The reason why a standby is not read."""
    with unit_of_work(organization_id=tenant.id) as session:
        writes.insert(session, Group, [new_group() | {"status": "active"}])
        running = session.scalar(text("SELECT pg_current_xact_id()::text"))
        group()
        stack.catch_up()
        with stack.primary.connect(database) as connection:
            on_primary = connection.execute("SELECT pg_current_snapshot()::text").fetchone()[0]
        with stack.replica.connect(database) as connection:
            on_standby = connection.execute("SELECT pg_current_snapshot()::text").fetchone()[0]

    assert running in on_primary.split(":")[2].split(",")
    assert running not in on_standby.split(":")[2].split(",")


def test_every_write_of_a_feeds_table_calls_a_trigger(sql):
    found = sql(
        "SELECT tgrelid::regclass::text, count(*) FROM pg_trigger"
        " WHERE tgname LIKE 'record\\_%%' AND tgenabled = 'O' AND tgparentid = 0 GROUP BY 1"
    )
    tables = {feed.model.__tablename__ for feed in FEEDS.values()}

    assert dict(found) == dict.fromkeys({*tables, "group_trainers", "workout_log_exercises", "workout_sets"}, 3)
