"""A conflict names the existing row, unless it is hidden from the caller."""

import copy

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.core.conftest import new_body
from tests.declared import each, file_of, merged
from tests.seeds import seed

OTHERS = merged("others")


def test_every_create_with_a_taken_id_names_the_existing_row(app, creates):
    seeds, wrong = seed(app, "Dhole"), []
    admin = seeds.tenant.the(Role.ADMIN)
    for operation in creates:
        schema, url = operation.endpoint.options.body, operation.address(seeds.ids)
        body = new_body(operation, seeds)
        made = admin.post(url, body)
        other = OTHERS.get(operation.name, {"name": "Something else"})
        assert other.keys() <= schema().fields.keys(), f"{operation.name}: see others in {file_of(operation)}"

        response = admin.post(url, {**body, **other})

        there = {"id": body["id"], "version": made.json["version"]}
        found = (
            response.status,
            response.problem["code"],
            response.problem.get("present"),
            response.headers.get("Location"),
        )
        if found != (409, "id_taken", there, made.headers["Location"]):
            wrong.append((operation.name, found))
    assert wrong == []


def conflicts(seeds):
    """Yield the pairs of creates that conflict, as modules declare them."""
    for of_module in each("conflicts"):
        yield from of_module(seeds)


def test_every_conflict_with_one_row_names_the_row_and_its_url(app):
    seeds = seed(app, "Numbat")
    admin, wrong = seeds.tenant.the(Role.ADMIN), []
    for url, body, otherwise, code, _ in conflicts(seeds):
        first = admin.post(url, copy.deepcopy(body))
        assert first.status == 201, first.raw.get_data(as_text=True)

        response = admin.post(url, {**body, **otherwise})

        there = {"id": first.json["id"], "version": first.json["version"]}
        found = (
            response.status,
            response.problem["code"],
            response.problem.get("present"),
            response.headers.get("Location"),
        )
        if found != (409, code, there, f"{url}{first.json['id']}/"):
            wrong.append((url, found))
    assert wrong == []


def test_a_change_that_conflicts_with_another_row_names_it_too(app):
    seeds = seed(app, "Quoll")
    admin, wrong = seeds.tenant.the(Role.ADMIN), []
    for url, body, otherwise, code, by_change in conflicts(seeds):
        if by_change is None:  # the shared value cannot be changed
            continue
        name, free = by_change
        first = admin.made(url, body)
        beside = {field: value for field, value in {**body, **otherwise, name: free}.items() if value is not None}
        second = admin.made(url, beside)

        response = admin.patch(f"{url}{second['id']}/", {name: body[name]})

        there = {"id": first["id"], "version": first["version"]}
        found = (
            response.status,
            response.problem["code"],
            response.problem.get("present"),
            response.headers.get("Location"),
        )
        if found != (409, code, there, f"{url}{first['id']}/"):
            wrong.append((url, found))
        assert admin.get(f"{url}{second['id']}/").json["version"] == second["version"]
    assert wrong == []


def test_a_conflict_names_no_row_that_is_hidden_from_the_caller(tenant, student):
    api, there = tenant.the(Role.ADMIN), student(code="S-1")
    clerk = tenant.someone(Role.CLIENT)
    role = {"name": "Clerk", "permissions": ["students:read", "students:write"], "scope": "groups"}
    api.patch(f"/api/users/{clerk.user_id}/", {"role_id": api.made("/api/roles/", role)["id"]})
    body = {"code": "S-1", "given_name": "A", "family_name": "B"}

    taken = clerk.post("/api/students/", body)
    same_id = clerk.post("/api/students/", {**body, "id": there["id"], "code": "S-2"})
    bulk = clerk.post("/api/students/bulk/", {"students": [body]})
    api.delete(f"/api/students/{there['id']}/")
    deleted = clerk.post("/api/students/", {**body, "id": there["id"]})

    for response, code in ((taken, "code_taken"), (same_id, "id_taken"), (deleted, "id_taken")):
        assert (response.status, response.problem["code"], response.headers.get("Location")) == (409, code, None)
        assert "present" not in response.problem
        assert there["id"] not in response.raw.get_data(as_text=True)
    assert bulk.json["results"][0]["id"] is None


def test_a_create_of_a_student_hidden_from_its_sender_can_be_repeated(tenant):
    api, clerk = tenant.the(Role.ADMIN), tenant.someone(Role.CLIENT)
    role = {"name": "Clerk", "permissions": ["students:read", "students:write"], "scope": "groups"}
    api.patch(f"/api/users/{clerk.user_id}/", {"role_id": api.made("/api/roles/", role)["id"]})
    body = {"id": str(new_id()), "code": "S-1", "given_name": "A", "family_name": "B"}

    first, again = (clerk.post("/api/students/", body) for _ in range(2))
    api.patch(f"/api/students/{body['id']}/", {"phone": "1"})
    later = clerk.post("/api/students/", body)

    assert (first.status, again.status, again.json == first.json) == (201, 200, True)
    assert (later.status, later.problem["code"]) == (409, "id_taken"), "the response does not show changes by others"
