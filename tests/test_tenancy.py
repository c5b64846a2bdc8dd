"""Tenants are isolated: every operation, every role, every way in which a request can pass an id.

The operations are read from the application, so a new operation is in the matrix immediately.
"""

import re
import uuid

import pytest
from marshmallow import fields as ma

from campshub.core.errors import Forbidden
from campshub.core.security.permissions import ROLES, Role
from tests.seeds import Seeds, seed
from tests.surface import Operation, body_for, fields_of, operations, put

OWN, FOREIGN = "Quokkabound", "Zanzibarian"
UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def own(app) -> Seeds:
    return seed(app, OWN)


@pytest.fixture(scope="module")
def foreign(app) -> Seeds:
    return seed(app, FOREIGN)


@pytest.fixture(scope="module")
def api_operations(app) -> list[Operation]:
    found = operations(app)
    assert len(found) >= 30
    return found


def body_of(operation: Operation, seeds: Seeds, *, whole: bool = False):
    schema = operation.endpoint.options.body
    return None if schema is None else body_for(schema, seeds.id_for, whole=whole)


def leaks(response, foreign: Seeds, sent_text: str = "") -> list[str]:
    """Return what a response contains of the other organization that the request did not contain."""
    text = response.raw.get_data().decode(errors="replace") + str(dict(response.headers))  # also of pictures
    found = set(UUIDS.findall(text)) & foreign.everything - set(UUIDS.findall(sent_text))
    return [*found, *([FOREIGN] if FOREIGN in text else [])]


def test_every_path_parameter_is_seeded(api_operations, own, foreign):
    names = {name for operation in api_operations for name in operation.parameters}

    assert names <= own.ids.keys()
    assert names <= foreign.ids.keys()
    assert not own.everything & foreign.everything


def test_another_organizations_id_in_the_path_is_not_found(api_operations, own, foreign):
    wrong = []
    for operation in api_operations:
        for parameter in operation.parameters:
            for role in Role:
                url = operation.address(own.ids, **{parameter: foreign.ids[parameter]})
                may = operation.endpoint.options.is_public or operation.endpoint.options.permission in ROLES[role]
                if may and operation.is_across:
                    continue
                response = own.tenant.the(role).call(operation.method, url, body_of(operation, own))
                if response.status != (404 if may else 403) or leaks(response, foreign, url):
                    wrong.append((operation.name, parameter, role.value, response.status, response.raw.text[:300]))

    assert wrong == []


def test_every_operation_requires_a_token(api_operations, app, own, foreign):
    wrong = []
    for operation in api_operations:
        if operation.endpoint.options.is_public:
            continue
        for ids in (own.ids, foreign.ids):
            response = app.test_client().open(operation.address(ids), method=operation.method)
            if response.status_code != 401 or response.json["code"] != "unauthenticated":
                wrong.append((operation.name, response.status_code))

    assert wrong == []


def test_a_role_can_do_what_its_permissions_allow_and_sees_only_its_own_organization(api_operations, own, foreign):
    wrong = []
    for operation in sorted(api_operations, key=lambda o: (o.method == "DELETE", o.name)):
        for role in Role:
            client = own.tenant.someone(role) if operation.ends_sessions else own.tenant.the(role)
            response = client.call(operation.method, operation.address(own.ids), body_of(operation, own))
            may = operation.endpoint.options.is_public or operation.endpoint.options.permission in ROLES[role]
            refused = response.status == 403 and response.problem["detail"] == Forbidden.default_detail  # from the edge
            if refused == may or response.status >= 500 or leaks(response, foreign):
                wrong.append((operation.name, role.value, response.status, response.raw.text[:300]))

    assert wrong == []


def test_a_token_of_one_organization_is_useless_in_another(api_operations, own, foreign):
    wrong = []
    for operation in api_operations:
        if operation.endpoint.options.is_public or not operation.parameters:
            continue
        for role in Role:
            if operation.is_across and operation.endpoint.options.permission in ROLES[role]:
                continue
            response = own.tenant.the(role).call(
                operation.method, operation.address(foreign.ids), body_of(operation, own)
            )
            if response.status not in (403, 404):
                wrong.append((operation.name, role.value, response.status))

    assert wrong == []


@pytest.mark.parametrize("whole", [False, True])
def test_another_organizations_id_in_the_body_refers_to_nothing(api_operations, app, whole):
    own, foreign = seed(app, OWN), seed(app, FOREIGN)
    admin = own.tenant.the(Role.ADMIN)
    wrong, tried = [], 0
    for operation in api_operations:
        schema = operation.endpoint.options.body
        if schema is None or operation.endpoint.options.is_public:
            continue
        for path, _ in fields_of(schema, ma.UUID):
            names = [step for step in path if step != "[]"]
            wanted = foreign.id_for(names[-1])
            if names[-1] == "id":
                continue  # see the next test
            assert wanted, f"{operation.name}: seed what {names[-1]} refers to"
            responses = []
            for given in (own.id_for(names[-1]), wanted):
                body = body_of(operation, own, whole=whole)
                put(body, path, given)
                responses.append(admin.call(operation.method, operation.address(own.ids), body))
            with_own, response = responses
            tried += 1
            fits = with_own.status in (200, 201, 202, 409) and not _each_row_is(with_own, "error")
            refused = 400 <= response.status < 500 or _each_row_is(response, "error", "conflict")
            if not refused or leaks(response, foreign, str(body)) or not (fits or whole):
                wrong.append((operation.name, path, with_own.raw.text[:300], response.raw.text[:300]))

    assert wrong == []
    assert tried >= 3


def _each_row_is(response, *outcomes: str) -> bool:
    """Return whether each row of a bulk response, or each row in it, has one of the outcomes."""

    def has(row) -> bool:
        return all(map(has, row["results"])) if row.get("results") else row["outcome"] in outcomes

    rows = response.json.get("results") if response.status == 200 else None
    return bool(rows) and all(map(has, rows))


def test_a_client_chosen_id_does_not_reveal_whether_another_organization_has_it(api_operations, app):
    own, foreign = seed(app, OWN), seed(app, FOREIGN)
    admin, wrong, tried = own.tenant.the(Role.ADMIN), [], 0
    for operation in api_operations:
        schema = operation.endpoint.options.body
        places = [path for path, _ in fields_of(schema, ma.UUID) if path[-1] == "id"] if schema else []
        for path in places:
            statuses = []
            # The first may take a unique value; after that, every unused id must get the same response.
            for given in (str(uuid.uuid4()), str(uuid.uuid4()), *sorted(foreign.everything)):
                body = body_of(operation, own)
                put(body, path, given)
                response = admin.call(operation.method, operation.address(own.ids), body)
                statuses.append(
                    (response.status, leaks(response, foreign, f"{body} {response.headers.get('Location')}"))
                )
            tried += 1
            if any(status != statuses[1] for status in statuses[2:]) or statuses[1][1]:
                wrong.append((operation.name, path, statuses))

    assert wrong == []
    assert tried >= 2


def test_another_organizations_id_in_a_filter_finds_nothing(api_operations, own, foreign):
    wrong, tried = [], 0
    for operation in api_operations:
        schema = operation.endpoint.options.query
        for (name,), _ in fields_of(schema, ma.UUID) if schema else ():
            tried += 1
            url = operation.address(own.ids)
            url += f"{'&' if '?' in url else '?'}{name}={foreign.id_for(name)}"
            for role in Role:
                response = own.tenant.the(role).call(operation.method, url)
                empty = response.status == 200 and response.json["items"] == []
                if not (empty or 400 <= response.status < 500) or leaks(response, foreign, url):
                    wrong.append((operation.name, name, role.value, response.status))

    assert wrong == []
    assert tried >= 2


def test_another_organizations_cursor_is_refused_by_every_list(api_operations, own, foreign):
    wrong, tried = [], 0
    for operation in api_operations:
        if not operation.endpoint.options.is_page:
            continue
        admins = [seeds.tenant.the(Role.ADMIN) for seeds in (foreign, own)]
        urls = [operation.address(seeds.ids) for seeds in (foreign, own)]
        joint = "&" if "?" in urls[0] else "?"
        cursor = admins[0].get(f"{urls[0]}{joint}limit=1").json["next_cursor"]
        assert cursor, f"{operation.name}: seed two, so that there is a cursor"
        response = admins[1].get(f"{urls[1]}{joint}limit=1&cursor={cursor}")
        tried += 1
        if response.status != 400 or response.problem["code"] != "bad_cursor" or leaks(response, foreign):
            wrong.append((operation.name, response.status))

    assert wrong == []
    assert tried >= 5


def test_lists_show_each_role_only_rows_of_its_own_organization(api_operations, own, foreign):
    wrong, seen = [], 0
    for operation in api_operations:
        if not operation.endpoint.options.is_page:
            continue
        for role in Role:
            url = operation.address(own.ids)
            response = own.tenant.the(role).get(f"{url}{'&' if '?' in url else '?'}limit=200")
            seen += OWN in response.raw.text
            if leaks(response, foreign):
                wrong.append((operation.name, role.value))

    assert wrong == []
    assert seen >= 5  # the word that would identify foreign rows does occur in the lists


def test_no_row_of_an_organization_refers_to_a_row_of_another(own, foreign, sql):
    columns = sql(
        """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND a.atttypid = 'uuid'::regtype AND a.attnum > 0 AND a.attname NOT IN ('organization_id', 'id')
           AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'organization_id')
        """
    )
    ids = [uuid.UUID(one) for one in foreign.everything]
    named = [
        f"{table}.{column}"
        for table, column in columns
        if sql(f"SELECT 1 FROM {table} WHERE organization_id = %s AND {column} = ANY(%s)", own.tenant.id, ids)
    ]

    assert len(columns) > 8
    assert [name for name in named if name != "audit_log.entity_id"] == []
