"""Users of one role get the same cached response, if the endpoint shares it within the role."""

from typing import Any

import pytest

from campshub.core.db.read_session import ReadSession
from campshub.core.security.permissions import ROLES, SCOPES, Role, Scope
from tests.cached_reads import cached, urls_of
from tests.seeds import seed

# What only some roles may ask for: those that can undelete or define fields, or have the property's permission.
RESTRICTED = ("deleted=true", "archived=true", "include=")
# The headers that belong to the response; the others differ between requests.
SHARED_HEADERS = ("ETag", "Link", "Location", "Content-Type")


def pages_of(client: Any, url: str, nothing: str) -> list[Any]:
    """Return the responses to a client, page by page; ``nothing`` is an id that a filter refers to in vain."""
    found: list[Any] = []
    following: str | None = url
    while following is not None and len(found) < 3:
        response = client.get(following)
        if response.status == 403 and any(part in url for part in RESTRICTED):
            return [403]
        if response.status == 404 and url.endswith(f"_id={nothing}"):
            return [404]
        assert response.status == 200, (following, response.raw.text)
        found.append(([response.headers.get(name) for name in SHARED_HEADERS], response.raw.get_data()))
        cursor = response.json.get("next_cursor")
        following = f"{url}&cursor={cursor}" if cursor else None
    return found


@pytest.fixture
def values(monkeypatch) -> set[str]:
    """The names of the values in all statements."""
    found: set[str] = set()
    ask = ReadSession._fetch

    def noted(session: Any, question: Any) -> Any:
        found.update(question.statement._names)
        return ask(session, question)

    monkeypatch.setattr(ReadSession, "_fetch", noted)
    return found


def test_two_users_of_a_role_that_sees_everything_get_the_same_response(app, no_response_cache, values):
    seeds = seed(app, "Quokka")
    shared = [one for one in cached(app) if one.endpoint.options.cache_policy.same_for_role]
    wrong, pages = [], 0
    for operation in shared:
        for role in (role for role in Role if SCOPES[role] is Scope.ALL):
            if operation.endpoint.options.permission not in ROLES[role]:
                continue
            # The first user has created all rows, signed in and enrolled people; no row refers to the second.
            active, idle = seeds.tenant.the(role), seeds.tenant.someone(role)
            for url in urls_of(operation, seeds.ids):
                values.clear()
                expected = pages_of(active, url, seeds.ids["user_id"])
                pages += len(expected)
                if expected != pages_of(idle, url, seeds.ids["user_id"]):
                    wrong.append((role.value, url))
                if "principal_user_id" in values:
                    wrong.append((role.value, url, "depends on the user"))

    assert wrong == []
    assert len(shared) > 15
    assert pages > 300
