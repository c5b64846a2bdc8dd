"""Probes: their responses and URLs, and the state of each cache Redis."""

import pytest

from campshub.app import create_app
from devstack import workspace
from devstack.redis import Redis
from tests.conftest import close, settings_of

PASSWORD_OF_ONE = "whisper"
AWAY = f"redis://:{PASSWORD_OF_ONE}@127.0.0.1:1/0"


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """A second cache Redis."""
    redis = Redis(workspace.make(tmp_path_factory.mktemp("second")), "cache")
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture
def served(request, stack, database, second):
    """An application with several cache Redis: ``own`` and ``second`` respond, ``away`` does not."""
    urls = {"own": stack.cache.url, "second": second.url, "away": AWAY}
    listed = ",".join(urls[name] for name in request.param)
    app = create_app(settings_of(stack, database, redis_url=listed, log_level="ERROR"))
    yield app
    close(app)


SEVERAL = [
    (("own",), [True]),
    (("own", "second"), [True, True]),
    (("own", "away"), [True, False]),
    (("away", "own"), [False, True]),
    (("second", "own", "away"), [True, True, False]),
]


@pytest.mark.parametrize(("served", "healthy"), SEVERAL, indirect=["served"])
def test_health_checks_each_cache_and_names_the_unavailable_one(served, healthy):
    response = served.test_client().get("/health/")

    caches = {name: part["healthy"] for name, part in response.json["services"].items() if name.startswith("cache")}
    assert response.status_code == 200
    assert caches == {f"cache{number or ''}": reported for number, reported in enumerate(healthy)}
    if not all(healthy):
        assert response.json["status"] == "degraded"
    assert PASSWORD_OF_ONE not in response.text


@pytest.mark.parametrize(("served", "healthy"), SEVERAL, indirect=["served"])
def test_check_config_checks_each_cache_and_names_the_unavailable_one(served, healthy):
    result = served.test_cli_runner().invoke(args=["check-config"])

    for number, reported in enumerate(healthy):
        assert f"{'ok  ' if reported else 'FAIL'} redis: cache{number or ''}" in result.output
    assert result.exit_code == (0 if all(healthy) else 1), result.output
    assert PASSWORD_OF_ONE not in result.output


@pytest.mark.parametrize("name", ["live", "ready", "health", "metrics"])
@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3:8000"])
def test_a_probe_responds_with_and_without_a_trailing_slash(app, name, host):
    client = app.test_client()
    responses = [client.get(f"/{name}{slash}", headers={"Host": host}) for slash in ("/", "")]

    assert [response.status_code for response in responses] == [200, 200]
    assert responses[0].mimetype == responses[1].mimetype
    if name != "metrics":
        assert set(responses[0].json) == set(responses[1].json)
