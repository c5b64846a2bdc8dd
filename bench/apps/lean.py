"""The list of students without the chain: tenant, query and serializer are the project's, the rest is Flask's."""

import os
from datetime import UTC, datetime
from uuid import UUID

from flask import Flask, Response

from campshub.app import create_app
from campshub.core.db.session import Unit, begin, commit, db
from campshub.core.http.serializer import serializer_of
from campshub.core.json import write
from campshub.core.paging import page_request
from campshub.core.security.permissions import Role
from campshub.core.security.principal import Principal
from campshub.students.queries import students as queries
from campshub.students.schemas.students import StudentFilter, StudentPresentOut

_product = create_app()
with _product.app_context():
    _engine = db.engines[None]
_cursors = _product.extensions["campshub"].cursors
_principal = Principal(
    user_id=UUID(os.environ["BENCH_USER"]),
    organization_id=UUID(os.environ["BENCH_ORGANIZATION"]),
    role=Role.ADMIN,
    time_zone="UTC",
)
_filters = StudentFilter().load({})

app = Flask("lean")


@app.get("/students/")
def students() -> Response:
    session = begin(Unit(engine=_engine, organization_id=_principal.organization_id, checks_caller=False))
    try:
        page = page_request(limit=50, sort="", cursor=None, only=None, bound_to={}, cursors=_cursors)
        today = _principal.today(datetime.now(UTC))
        found = queries.list_students(session, _principal, page=page, on=today, **_filters)
        commit(session)
    finally:
        session.close()
    items = serializer_of(StudentPresentOut).many(found.rows)
    body = {"items": items, "next_cursor": found.next_cursor, "has_more": found.has_more}
    return Response(write(body), mimetype="application/json")
