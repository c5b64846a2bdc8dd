"""Warming caches the most popular responses in advance, for exactly the callers who may see them, within limits."""

import time
from datetime import UTC, datetime

import pytest

from campshub.core.cache import popular as counting
from campshub.core.cache.popular import PopularUrl
from campshub.core.db.models import new_id
from campshub.core.freshness.protocol import LookupReply
from campshub.core.http import lookup
from campshub.core.http.context import Lookup
from campshub.core.http.warming import PATIENCE, Warmer
from campshub.core.security.permissions import Role
from tests.conftest import new_tenant

LIST = "/api/students/"


@pytest.fixture
def services(app):
    return app.extensions["campshub"]


@pytest.fixture
def warm(app, services, tenant):
    """Report the counted URLs, and warm; ``warm.rests`` records the pauses."""
    rests = []

    def run(*, most=50, organization_id=None, per_second=10.0):
        services.popular_urls.flush()
        services.response_cache.memory.clear()
        services.caller_states.clear()
        rests.clear()
        with app.app_context():
            done = Warmer(app, services, per_second, rest=rests.append).warm(
                most=most, organization_id=organization_id or tenant.id
            )
        services.response_cache.memory.clear()
        return done

    run.rests = rests
    return run


def request_often(client, *urls, times=3, is_cached=True):
    """Send so many requests that the process knows the URL, and counts it."""
    for url in urls:
        until = time.monotonic() + 30
        while is_cached and client.get(url).statements and time.monotonic() < until:
            time.sleep(0.02)  # not cached yet: no lease, or the replica lags
        for _ in range(times):
            assert client.get(url).status == 200


def make_a_student(api):
    return api.made(LIST, {"code": new_id().hex, "given_name": "Asha", "family_name": "Rao"})["id"]


def test_after_a_warming_the_next_read_needs_no_statement(api, warm, student):
    request_often(api, LIST, "/api/groups/?status=active")
    student()  # the cached response is outdated now

    done = warm()

    assert (done.made + done.cached, done.refused, done.left, done.is_whole) == (2, 0, 0, True)
    assert done.made >= 1
    listed = api.get(LIST)
    assert listed.statements == []
    assert len(listed.json["items"]) == 1


def test_only_callers_who_share_a_warmed_response_get_it(api, tenant, warm, student):
    request_often(api, LIST)
    student()
    warm()

    colleague, trainer = tenant.someone(Role.ADMIN), tenant.someone(Role.TRAINER)
    request_often(colleague, "/api/me/", times=1, is_cached=False)

    assert [s for s in colleague.get(LIST).statements if "FROM students" in s] == []
    assert trainer.get(LIST).json["items"] == []


def test_a_response_is_warmed_with_the_permissions_of_its_caller(api, tenant, warm, student):
    trainer = tenant.someone(Role.TRAINER)
    request_often(trainer, LIST)
    student()

    assert warm().made == 1
    assert trainer.get(LIST).statements == []
    assert trainer.get(LIST).json["items"] == []
    assert len(api.get(LIST).json["items"]) == 1


def test_a_write_after_the_warming_is_seen(api, warm, student):
    request_often(api, LIST)
    student()
    warm()
    second = student()["id"]

    assert second in {one["id"] for one in api.get(LIST).json["items"]}


def test_users_without_access_are_not_warmed_and_are_forgotten(api, tenant, services, warm, student, sql):
    gone = tenant.someone(Role.TRAINER)
    request_often(gone, LIST)
    assert api.patch(f"/api/users/{gone.user_id}/", {"status": "disabled"}).status == 200
    student()

    first, second = warm(), warm()

    assert (first.made, first.refused) == (0, 1)
    assert (second.made, second.refused) == (0, 0)


def test_a_warming_beyond_the_permissions_of_a_changed_role_is_refused(api, tenant, warm, student):
    changed = tenant.someone(Role.ADMIN)
    request_often(changed, "/api/users/")
    assert api.patch(f"/api/users/{changed.user_id}/", {"role": "client"}).status == 200

    assert warm().refused == 1


def test_other_organizations_are_neither_warmed_nor_mixed_in(api, tenant, app, services, warm, student):
    other = new_tenant(app)
    theirs = other.the(Role.ADMIN)
    request_often(api, LIST)
    request_often(theirs, LIST)
    student()
    foreign = make_a_student(theirs)

    assert warm(organization_id=tenant.id).made == 1
    assert [s for s in theirs.get(LIST).statements if "students" in s] != []
    make_a_student(theirs)
    assert warm(organization_id=other.id).made == 1
    served = theirs.get(LIST)
    assert served.statements == []
    assert foreign in {one["id"] for one in served.json["items"]}
    assert foreign not in {one["id"] for one in api.get(LIST).json["items"]}


def test_a_warming_is_limited_starts_with_the_most_popular_and_pauses_after_each(api, warm, student):
    request_often(api, LIST, times=5)
    request_often(api, "/api/students/?limit=7", times=9)
    request_often(api, "/api/groups/", times=3)
    student()

    assert warm(most=1, per_second=4.0).made == 1
    assert len(warm.rests) == 1
    assert warm.rests[0] >= 1 / 4.0
    assert api.get("/api/students/?limit=7").statements == []
    assert api.get(LIST).statements != []


def test_responses_in_the_cache_are_not_warmed_again(api, warm, student):
    student()
    request_often(api, LIST)

    done = warm()

    assert (done.made, done.cached, warm.rests) == (0, 1, [])


def test_a_warming_stops_when_nothing_can_be_cached(api, warm, monkeypatch):
    request_often(api, *(f"{LIST}?limit={number}" for number in range(1, PATIENCE + 4)))
    monkeypatch.setattr(lookup, "look_up_uncounted", lambda call: Lookup(None, LookupReply()))

    done = warm()

    assert (done.made, done.left, done.is_whole) == (0, PATIENCE, False)


def test_keys_and_uncached_reads_are_not_counted(api, services, tenant):
    services.popular_urls.flush()
    request_often(api, "/api/me/", is_cached=False)

    assert services.popular_urls._counts == {}


def test_a_warming_counts_in_no_rate_limit(api, warm, student, tenant, services):
    request_often(api, LIST)
    student()
    before = api.get("/api/me/").headers["RateLimit"]
    warm()
    after = api.get("/api/me/").headers["RateLimit"]

    assert int(before.split("r=")[1].split(";")[0]) - int(after.split("r=")[1].split(";")[0]) <= 1


def test_the_counts_of_a_process_are_bounded(services, tenant, monkeypatch):
    reported = []
    monkeypatch.setattr(counting, "MOST_COUNTED", 10)
    monkeypatch.setattr(counting.PopularUrls, "_send", lambda _, counts: reported.append(dict(counts)))
    uses = counting.PopularUrls(services.cache)
    for number in range(35):
        uses.note(str(tenant.id), "u", f"/{number}", b"", uses._sent_at)

    assert len(uses._counts) <= 10
    assert sum(map(len, reported)) + len(uses._counts) == 35


def test_the_counts_in_redis_are_bounded_and_ranked(services, tenant, monkeypatch):
    monkeypatch.setattr(counting, "MOST_STORED", 3)
    for number in range(8):
        for _ in range(number + 1):
            services.popular_urls.note(str(tenant.id), "u", f"/{number}", b"q=1", services.popular_urls._sent_at)
    services.popular_urls.flush()

    found = services.popular_urls.most(str(tenant.id), datetime.now(UTC), most=50)

    assert found == [PopularUrl(str(tenant.id), "u", f"/{number}", b"q=1") for number in (7, 6, 5)]
    assert str(tenant.id) in services.popular_urls.organizations(datetime.now(UTC))


def test_the_command_reports_what_it_did(app, api, services, tenant, student):
    request_often(api, LIST)
    student()
    services.popular_urls.flush()

    arguments = ("cache", "warm", "--organization", str(tenant.id), "--per-second", "100")
    result = app.test_cli_runner().invoke(args=arguments)

    assert result.exit_code == 0, result.output
    assert result.output.startswith("Computed 1 responses")
