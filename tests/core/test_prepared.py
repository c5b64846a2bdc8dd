"""Prepared statements: one text per shape, each caller's own values, and the same responses as ordinary sessions."""

import os
import socket

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import DBAPIError

from campshub.core.db import session as sessions
from campshub.core.db.models import new_id
from campshub.core.db.prepared import prepared
from campshub.core.db.session import ReplicaBehind, Unit, begin, commit, db
from campshub.core.observe import metrics
from campshub.core.security.permissions import Role
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student
from campshub.students.queries import students as queries
from tests.conftest import NOW
from tests.seeds import seed
from tests.surface import operations

ODD = [
    "O'Neill",
    "a\\b",
    "100%",
    "%(given_text)s",
    '"x"',
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "'; DROP TABLE students; --",
    "\\'",
    "",
]

# A read of a medical note adds an entry to the first, a refusal to the second.
GROWING = {"/api/audit/", "/api/security-events/"}
# Properties that contain the time of the response, by the end of the path.
TIMED = {
    "/changes/": {"next"},
    "/api/sync/": {"next"},
    "/attachment/": {"url", "expires_at"},
    "/qr/": {"code", "issued_at", "expires_at"},
}


def principal_of(tenant, role=Role.ADMIN):
    return Principal(tenant.the(role).user_id, tenant.id, role, "Asia/Kolkata")


def reading(tenant, **given):
    """Return a read session whose caller is already authenticated."""
    return begin(Unit(engine=db.engines[None], organization_id=tenant.id, checks_caller=False, **given))


def rows_of(tenant, query):
    session = reading(tenant)
    try:
        return session.execute(query).all()
    finally:
        session.close()


@prepared
def _every_student(_principal):
    return select(Student.code).order_by(Student.code)  # no filter on the organization


@prepared
def _by_code(principal, *, code):
    return select(Student.code).where(visible_to(principal, Student), Student.code == code)


@prepared
def _echo(_principal, *, text):
    return select(func.concat(text, "%").label("text"), func.upper("it's %").label("fixed"))


@pytest.fixture
def both(tenant, other):
    """Two organizations, each with a student with the same code and one with its own code."""
    for where, name in ((tenant, "ours"), (other, "theirs")):
        for code in ("same", name):
            where.the(Role.ADMIN).made("/api/students/", {"code": code, "given_name": name, "family_name": "B"})
    return tenant, other


def test_callers_of_one_shape_get_their_own_rows_in_any_order(context, both):
    shape = _by_code(principal_of(both[0]), code="same")

    for _ in range(3):
        for where, own, foreign in ((both[0], "ours", "theirs"), (both[1], "theirs", "ours")):
            principal = principal_of(where)
            query = _by_code(principal, code=own)
            assert query.statement is shape.statement
            assert [row.code for row in rows_of(where, query)] == [own]
            assert rows_of(where, _by_code(principal, code=foreign)) == []


def test_interleaved_queries_use_their_own_values(context, both):
    ours, theirs = (queries._one(principal_of(where), student_id=new_id()) for where in both)
    first, second = reading(both[0]), reading(both[1])
    try:
        assert [first.execute(ours).all(), second.execute(theirs).all()] == [[], []]
        assert ours.values["principal_organization_id"] == both[0].id
        assert theirs.values["principal_organization_id"] == both[1].id
    finally:
        first.close()
        second.close()


def test_a_statement_without_a_filter_on_the_organization_shows_only_rows_of_the_tenant(context, both):
    assert [row.code for row in rows_of(both[0], _every_student(principal_of(both[0])))] == ["ours", "same"]
    # The tenant of the unit of work counts, not the caller for whom the statement was built.
    assert [row.code for row in rows_of(both[1], _every_student(principal_of(both[0])))] == ["same", "theirs"]


@pytest.mark.parametrize("text", ODD)
def test_every_text_arrives_unchanged(context, tenant, text):
    query = _echo(principal_of(tenant), text=text)

    assert [tuple(row) for row in rows_of(tenant, query)] == [(f"{text}%", "IT'S %")]


def test_text_that_postgresql_cannot_store_is_refused(context, tenant):
    with pytest.raises(ValueError, match="NUL"):
        rows_of(tenant, _echo(principal_of(tenant), text="a\x00b"))


def test_a_statement_cannot_depend_on_a_value(tenant):
    @prepared
    def looks(_principal, *, code):
        return select(Student.code).limit(1) if code else select(Student.id)

    @prepared
    def knows_the_zone(principal):
        return select(Student.code).where(Student.joined_on == principal.today(NOW))

    for wrong in (lambda: looks(principal_of(tenant), code="x"), lambda: knows_the_zone(principal_of(tenant))):
        with pytest.raises(TypeError):
            wrong()


def test_a_list_of_values_cannot_be_an_argument(tenant):
    with pytest.raises(TypeError, match="neither a value nor a part of the shape"):
        _by_code(principal_of(tenant), code=["a"])


def test_each_role_has_its_own_statement(tenant):
    admin, client = (_by_code(principal_of(tenant, role), code="x") for role in (Role.ADMIN, Role.CLIENT))

    assert admin.statement is not client.statement
    assert "user_id" not in admin.statement.text
    assert "user_id" in client.statement.text


def test_a_read_of_a_known_caller_is_one_round_trip_and_releases_its_connection(context, tenant):
    pool = db.engines[None].pool
    trips: list[str] = []
    principal = principal_of(tenant)
    with metrics.listening(trips.append):
        session = reading(tenant)
        session.execute(_every_student(principal)).all()
        assert pool.checkedout() == 0
        commit(session)
        session.close()

    assert len(trips) == 1


def test_a_read_that_checks_the_caller_ends_its_transaction_with_the_statement(context, tenant):
    trips: list[str] = []
    user_id = tenant.the(Role.ADMIN).user_id
    with metrics.listening(trips.append):
        session = begin(Unit(engine=db.engines[None], organization_id=tenant.id, user_id=user_id))
        assert session.unit.caller_row.role == Role.ADMIN
        session.execute(_every_student(principal_of(tenant))).all()
        commit(session)
        session.close()

    assert [trip[:5] for trip in trips] == ["BEGIN", "SELEC"]
    assert db.engines[None].pool.checkedout() == 0


def test_an_ordinary_statement_continues_the_open_transaction(context, both):
    begun: list[str] = []
    session = begin(Unit(engine=db.engines[None], organization_id=both[0].id, user_id=new_id()))
    try:
        with metrics.listening(begun.append):
            rows = session.execute(select(Student.code).order_by(Student.code)).scalars().all()
            again = session.execute(_every_student(principal_of(both[0]))).scalars().all()
            commit(session)
        assert rows == again == ["ours", "same"]
        assert not any(trip.startswith("BEGIN") for trip in begun)
    finally:
        session.close()
    assert db.engines[None].pool.checkedout() == 0


def test_a_read_changes_nothing(context, tenant):
    @prepared
    def writes(_principal):
        return select(func.lo_create(0))

    with pytest.raises(DBAPIError, match="read-only"):
        rows_of(tenant, writes(principal_of(tenant)))
    assert rows_of(tenant, _every_student(principal_of(tenant))) == []  # and the connection is still usable


def test_the_tenant_is_reset_after_the_statement(context, both):
    pool = db.engines[None].pool
    rows_of(both[0], _every_student(principal_of(both[0])))

    connection = db.engines[None].raw_connection()
    try:
        cursor = connection.cursor()
        assert cursor.execute("SELECT count(*) FROM students").fetchone() == (0,)
        cursor.close()
    finally:
        connection.close()
    assert pool.checkedout() == 0


def test_a_connection_lost_in_the_pool_is_replaced(context, both):
    engine = db.engines[None]
    engine.dispose()
    rows_of(both[0], _every_student(principal_of(both[0])))
    connection = engine.raw_connection()
    with socket.socket(fileno=os.dup(connection.driver_connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
    connection.close()

    assert [row.code for row in rows_of(both[0], _every_student(principal_of(both[0])))] == ["ours", "same"]


def test_a_failed_statement_is_not_repeated_and_leaves_the_connection_usable(context, both):
    @prepared
    def divides(_principal, *, by):
        return select((1 / by).label("share"))

    trips: list[str] = []
    with metrics.listening(trips.append), pytest.raises(DBAPIError, match="division by zero"):
        rows_of(both[0], divides(principal_of(both[0]), by=0))
    assert len(trips) == 1
    assert len(rows_of(both[0], _every_student(principal_of(both[0])))) == 2


def test_a_replica_without_the_required_position_returns_no_rows(context, both):
    replica = next(engine for name, engine in db.engines.items() if name and name.startswith("replica"))
    unit = Unit(engine=replica, organization_id=both[0].id, checks_caller=False, needed_lsn="FFFFFF/0")
    for query in (_every_student(principal_of(both[0])), select(Student.code)):
        session = begin(unit)
        with pytest.raises(ReplicaBehind):
            session.execute(query)
        session.close()
    assert replica.pool.checkedout() == 0


def comparable(url, page):
    """Return the status, the ETag and the bytes of a response, without what depends on its time."""
    path = url.partition("?")[0]
    timed = next((names for end, names in TIMED.items() if path.endswith(end)), set())
    if page.status != 200 or not timed:
        return page.status, page.headers.get("ETag"), page.raw.get_data()
    assert all(page.json[name] for name in timed)
    return page.status, [(name, value) for name, value in page.json.items() if name not in timed]


def test_prepared_reads_return_the_same_bytes_as_ordinary_sessions(app, no_response_cache, monkeypatch):
    seeds = seed(app, "Quagga")
    reads = [one for one in operations(app) if one.method == "GET" and one.endpoint.options.permission is not None]
    reads = [one for one in reads if one.rule not in GROWING]
    urls = [one.address(seeds.ids) for one in reads]
    urls += [one.address(dict.fromkeys(one.parameters, str(new_id()))) for one in reads if one.parameters]
    urls += [
        f"{one.address(seeds.ids)}{'&' if '?' in one.address(seeds.ids) else '?'}limit=1"
        for one in reads
        if one.endpoint.options.is_page
    ]
    assert len(urls) > 20
    callers = [seeds.tenant.the(role) for role in (Role.ADMIN, Role.TRAINER, Role.CLIENT)]

    same = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}  # it is in refusals

    def responses():
        found = {}
        for number, caller in enumerate(callers):
            for url in urls:
                page = caller.get(url, headers=same)
                found[number, url] = comparable(url, page)
                following = page.json.get("next_cursor") if page.status == 200 and "limit=1" in url else None
                if following:
                    second = caller.get(f"{url}&cursor={following}", headers=same)
                    found[number, url, "second"] = (second.status, second.raw.get_data())
        return found

    prepared_responses = responses()
    ordinary = []
    with app.app_context():
        engines = list(db.engines.values())
    monkeypatch.setattr(sessions, "_begun", sessions._ordinary)

    def record(_connection, _cursor, text, *_given):
        ordinary.append(text)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", record)
    try:
        ordinary_responses = responses()
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", record)

    assert prepared_responses == ordinary_responses
    assert {status for status, *_ in prepared_responses.values()} == {200, 403, 404}
    assert len(ordinary) >= [status for status, *_ in prepared_responses.values()].count(200)
