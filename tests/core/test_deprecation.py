"""The document and every response of a deprecated operation, refusals too, announce the deprecation."""

from datetime import date

import pytest
from marshmallow import fields as ma

from campshub.app import create_app
from campshub.core.http.decorators import cached, deprecated, needs
from campshub.core.http.openapi.document import Unnamed, operation_id
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.http.schemas import fields
from campshub.core.security.permissions import Permission, Role
from tests.conftest import Client, close, new_tenant
from tests.documented import documented

old = Blueprint("old", __name__, url_prefix="/api/old", description="What ends soon.")


class CountOut(fields.Out):
    count = ma.Integer(required=True)


@old.route("/count/")
class OldCount(Resource):
    @needs(Permission.STUDENTS_READ)
    @cached(tags=("students",))
    @deprecated(since=date(2026, 12, 1), sunset=date(2027, 6, 30), instead="`GET /api/students/statistics/`.")
    @old.answers(CountOut)
    def get(self):
        """Count something."""
        return {"count": 1}


@pytest.fixture
def app_with_old(settings):
    app = create_app(settings)
    app.extensions["flask-smorest"]["apis"][""]["ext_obj"].register_blueprint(old)
    yield app
    close(app)


def test_every_response_of_a_deprecated_operation_has_its_end_date(app_with_old):
    admin = new_tenant(app_with_old).the(Role.ADMIN)

    responses = [admin.get("/api/old/count/") for _ in range(3)]  # the later ones from the cache
    refused = Client(app_with_old).get("/api/old/count/")

    assert [response.status for response in (*responses, refused)] == [200, 200, 200, 401]
    dates = {(a.headers["Deprecation"], a.headers["Sunset"]) for a in (*responses, refused)}
    assert dates == {("@1796083200", "Wed, 30 Jun 2027 00:00:00 GMT")}


def test_the_document_names_the_replacement_of_a_deprecated_operation(app_with_old):
    known = documented(app_with_old)
    operation = known.document["paths"]["/api/old/count/"]["get"]

    assert operation["deprecated"] is True
    assert "Instead: `GET /api/students/statistics/`." in operation["description"]
    described = {status: known.resolved(response) for status, response in operation["responses"].items()}
    assert [status for status, a in described.items() if not {"Deprecation", "Sunset"} <= a["headers"].keys()] == []


def test_other_operations_do_not_have_these_headers(api):
    response = api.get("/api/students/")

    assert not {"Deprecation", "Sunset"} & set(dict(response.headers))


def test_an_action_needs_a_name_derived_or_explicit():
    endpoint = OldCount.endpoints["GET"]

    assert operation_id(endpoint, "get") == "getOldCount"
    with pytest.raises(Unnamed):
        operation_id(endpoint, "post")
