"""What one user of a role is answered, another is answered too, where the handler says that the role shares it."""

from typing import Any

import pytest

from campshub.core.db.read_session import ReadSession
from campshub.core.security.permissions import ROLES, SCOPES, Role, Scope
from tests.cached_reads import cached, urls_of
from tests.seeds import seed

# What an answer is made of; the rest tells of the request.
TOLD = ("ETag", "Link", "Location", "Content-Type")


def answers(client: Any, address: str) -> list[Any]:
    """Return what a client is answered, page by page."""
    found: list[Any] = []
    following: str | None = address
    while following is not None and len(found) < 3:
        answer = client.get(following)
        if answer.status == 403 and "deleted=true" in address:  # for those who may undelete
            return [403]
        assert answer.status == 200, (following, answer.response.text)
        found.append(([answer.headers.get(name) for name in TOLD], answer.response.get_data()))
        cursor = answer.json.get("next_cursor")
        following = f"{address}&cursor={cursor}" if cursor else None
    return found


@pytest.fixture
def values(monkeypatch) -> set[str]:
    """The names of the values that statements were asked with."""
    found: set[str] = set()
    ask = ReadSession._ask

    def noted(session: Any, question: Any) -> Any:
        found.update(question.statement._names)
        return ask(session, question)

    monkeypatch.setattr(ReadSession, "_ask", noted)
    return found


def test_two_users_of_a_role_that_sees_everything_are_answered_alike(app, nothing_kept, values):
    seeds = seed(app, "Quokka")
    shared = [one for one in cached(app) if one.handler.options.cache_policy.same_for_role]
    wrong, pages = [], 0
    for operation in shared:
        for role in (role for role in Role if SCOPES[role] is Scope.ALL):
            if operation.handler.options.permission not in ROLES[role]:
                continue
            # The one has made all that is there, signed in and enrolled people; of the other there is nothing.
            somebody, nobody = seeds.place.the(role), seeds.place.someone(role)
            for address in urls_of(operation, seeds.ids):
                values.clear()
                told = answers(somebody, address)
                pages += len(told)
                if told != answers(nobody, address):
                    wrong.append((role.value, address))
                if "principal_user_id" in values:
                    wrong.append((role.value, address, "asks who reads"))

    assert wrong == []
    assert len(shared) > 15
    assert pages > 300
