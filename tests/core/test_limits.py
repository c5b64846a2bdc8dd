"""Rate limits of signed-in callers count alike in Redis and in the process."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from campshub.config import SettingsError
from campshub.core.db.models import new_id
from campshub.core.http.rate_limits import per_caller
from campshub.core.http.rate_limits.per_caller import CallerLimits
from tests.conftest import settings_of

DEFAULTS = {"rate_limit_user": "1000/hour", "rate_limit_rpm": 1000, "rate_limit_burst": 100}
NOW_MS = 1_795_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def limits_of(stack, database):
    """Return a factory of limits."""
    return lambda **given: CallerLimits(settings_of(stack, database, **DEFAULTS | given))


@pytest.fixture
def in_redis(app):
    """Count in Redis with the interface of the process: ``in_redis(limits)(caller, now_ms)``."""
    client = app.extensions["campshub"].cache.client

    def counting(made):
        script = client.register_script(f"{made.lua} return {{count(KEYS[1], unpack(ARGV))}}")
        return lambda caller, now_ms: made.state_of(
            script(keys=[f"limit:{caller}"], args=[now_ms, *made.plan(None).parameters])
        )

    return counting


# Both counters --------------------------------------------------------------------------------------------------------

STEPS_MS = st.one_of(
    st.integers(0, 50),
    st.integers(0, 2_000),
    st.integers(0, 200_000),
    st.sampled_from([-70_000, -1_500, -1, 999, 1_000, 59_999, 60_000, 60_001, 2 * HOUR_MS, 3 * HOUR_MS]),
)
LIMITS = st.fixed_dictionaries(
    {
        "rate_limit_user": st.sampled_from(["1/second", "3/second", "5/minute", "7/hour", "30/minute", "1000/day"]),
        "rate_limit_rpm": st.sampled_from([1, 7, 60, 90, 1000, 7001, 1_000_000]),
        "rate_limit_burst": st.sampled_from([1, 2, 3, 10]),
    }
)


# Each example has its own caller.
@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_limits=LIMITS, steps=st.lists(STEPS_MS, min_size=1, max_size=60))
def test_redis_and_the_process_count_alike(stack, database, in_redis, given_limits, steps):
    made = CallerLimits(settings_of(stack, database, **given_limits))
    count, caller, now_ms = in_redis(made), new_id().hex, NOW_MS

    for step_ms in steps:
        now_ms += step_ms
        assert made.count_here(caller, made.plan(None), now_ms / 1000) == count(caller, now_ms)


@pytest.fixture(params=["in Redis", "in the process"])
def counting(request, in_redis):
    """Return a counter: ``counting(limits)(caller, now_ms)``."""
    if request.param == "in Redis":
        return in_redis
    return lambda made: lambda caller, now_ms: made.count_here(caller, made.plan(None), now_ms / 1000)


def test_an_hourly_quota_slides_and_recovers_completely(limits_of, counting):
    count = counting(limits_of(rate_limit_user="4/hour"))
    begin = NOW_MS - NOW_MS % HOUR_MS
    caller = new_id().hex
    middle = begin + HOUR_MS // 2

    # The last of these leaves less than the weight of one request: a quarter of the next hour is left then.
    assert [count(caller, middle).remaining[0] for _ in range(4)] == [3, 2, 1, 0]
    refused = count(caller, middle)
    assert (refused.allowed, refused.remaining[0]) == (False, 0)
    assert refused.reset_s[0] == 1800 + 2700 + 1
    assert refused.retry_after_s == 1800 + 1

    # Half of the next hour: two of the four requests still count.
    assert [count(caller, begin + HOUR_MS * 3 // 2).allowed for _ in range(3)] == [True, True, False]
    assert count(caller, begin + 3 * HOUR_MS).remaining[0] == 3


def test_after_a_burst_the_sustained_rate_applies(limits_of, counting):
    count = counting(limits_of(rate_limit_rpm=60, rate_limit_burst=3))
    caller = new_id().hex

    assert [count(caller, NOW_MS).remaining[1] for _ in range(3)] == [2, 1, 0]
    assert [count(caller, NOW_MS + step).allowed for step in (0, 999, 1000, 1001, 2000)] == [
        False,
        False,
        True,
        False,
        True,
    ]
    refused = count(caller, NOW_MS + 2000)
    assert (refused.allowed, refused.remaining, refused.retry_after_s) == (False, (995, 0), 1)
    assert refused.reset_s[1] == 3


def test_refused_requests_do_not_use_the_quota(limits_of, counting):
    count = counting(limits_of(rate_limit_user="10/hour", rate_limit_rpm=60, rate_limit_burst=1))
    caller = new_id().hex

    for _ in range(50):
        count(caller, NOW_MS)

    # Nor does a caller who keeps sending wait longer.
    state = count(caller, NOW_MS + 1000)
    assert (state.allowed, state.remaining) == (True, (8, 0))


@hypothesis_settings(max_examples=100, deadline=None)
@given(given_limits=LIMITS, steps=st.lists(st.integers(0, 100_000), min_size=1, max_size=60))
def test_a_request_after_the_retry_time_is_allowed(stack, database, given_limits, steps):
    made = CallerLimits(settings_of(stack, database, **given_limits))
    now_ms = NOW_MS

    for step_ms in steps:
        now_ms += step_ms
        state = made.count_here("caller", made.plan(None), now_ms / 1000)
        if not state.allowed:
            assert state.retry_after_s > 0
            now_ms += state.retry_after_s * 1000
            assert made.count_here("caller", made.plan(None), now_ms / 1000).allowed


@hypothesis_settings(max_examples=100, deadline=None)
@given(given_limits=LIMITS, steps=st.lists(st.integers(0, 100_000), min_size=1, max_size=60))
def test_no_window_of_the_clock_lets_more_through_than_the_quota(stack, database, given_limits, steps):
    made = CallerLimits(settings_of(stack, database, **given_limits))
    now_ms, let_in = NOW_MS, {}

    for step_ms in steps:
        now_ms += step_ms
        if made.count_here("caller", made.plan(None), now_ms / 1000).allowed:
            window = now_ms // (made.plan(None).user.window_s * 1000)
            let_in[window] = let_in.get(window, 0) + 1
    assert max(let_in.values()) <= made.plan(None).user.quota


@hypothesis_settings(max_examples=100, deadline=None)
@given(given_limits=LIMITS, count=st.integers(1, 12))
def test_the_quotas_are_complete_at_the_reset_time(stack, database, given_limits, count):
    made = CallerLimits(settings_of(stack, database, **given_limits))

    for which, policy in enumerate((made.plan(None).user, made.plan(None).burst)):
        for _ in range(count):
            state = made.count_here(policy.name, made.plan(None), NOW_MS / 1000)
        later = made.count_here(policy.name, made.plan(None), NOW_MS / 1000 + state.reset_s[which])
        assert later.remaining[which] + later.allowed == policy.quota  # the other policy may still refuse


def test_callers_do_not_share_a_quota(limits_of, counting):
    count = counting(limits_of(rate_limit_user="1/hour"))
    one, other = new_id().hex, new_id().hex

    assert [count(caller, NOW_MS).allowed for caller in (one, one, other)] == [True, False, True]


def test_a_clock_set_back_by_hours_locks_no_caller_out(limits_of, counting):
    count = counting(limits_of(rate_limit_user="2/hour", rate_limit_burst=1))
    caller = new_id().hex
    count(caller, NOW_MS + 5 * HOUR_MS)

    assert count(caller, NOW_MS).allowed


def test_a_clock_that_is_slightly_behind_grants_no_extra_request(limits_of, counting):
    count = counting(limits_of(rate_limit_user="2/hour", rate_limit_rpm=1, rate_limit_burst=3))
    begin = NOW_MS - NOW_MS % HOUR_MS
    caller = new_id().hex

    assert [count(caller, begin + step_ms).allowed for step_ms in (0, 0, -1, -1)] == [True, True, False, False]


# Redis ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def client(app):
    return app.extensions["campshub"].cache.client


def test_a_caller_is_one_short_string_with_a_ttl_of_two_windows(client, limits_of, in_redis):
    caller = new_id().hex
    in_redis(limits_of())(caller, NOW_MS)

    assert client.strlen(f"limit:{caller}") == 20
    assert 2 * HOUR_MS - 60_000 < client.pttl(f"limit:{caller}") <= 2 * HOUR_MS


def test_an_allowed_request_is_one_get_and_one_set_and_a_refused_one_a_get(client, limits_of, in_redis):
    count = in_redis(limits_of(rate_limit_user="1/hour"))
    caller = new_id().hex
    count(new_id().hex, NOW_MS)  # loads the script

    for allowed, expected in ((True, ["GET", "SET"]), (False, ["GET"])):
        with client.monitor() as monitor:
            assert count(caller, NOW_MS).allowed == allowed
            client.echo(caller)
            commands = [["", ""]]
            while commands[-1] != ["ECHO", caller]:
                commands.append(monitor.next_command()["command"].split()[:2])
        assert [verb for verb, key in commands if key == f"limit:{caller}"] == expected


def test_an_invalid_value_in_redis_counts_as_none(client, limits_of, in_redis):
    caller = new_id().hex
    client.set(f"limit:{caller}", b"something else")

    assert in_redis(limits_of())(caller, NOW_MS).remaining == (999, 99)


# The process ----------------------------------------------------------------------------------------------------------


def test_the_process_forgets_idle_callers(limits_of):
    made = limits_of()
    for caller in range(100):
        made.count_here(f"{caller}", made.plan(None), NOW_MS / 1000)

    made.count_here("late", made.plan(None), NOW_MS / 1000 + 2 * 3600)

    assert list(made._callers) == ["late"]


def test_the_process_counts_a_bounded_number_of_callers_and_drops_the_longest_idle(limits_of, monkeypatch):
    monkeypatch.setattr(per_caller, "_MOST_CALLERS", 10)
    made = limits_of(rate_limit_user="2/hour")
    count = lambda caller: made.count_here(f"{caller}", made.plan(None), NOW_MS / 1000).allowed  # noqa: E731

    assert count("busy")
    for caller in range(100):
        count(caller)
        if caller == 5:
            assert count("busy")
        if caller == 12:
            assert not count("busy"), "it is still counted after ten newer callers"

    assert list(made._callers) == [f"{caller}" for caller in range(90, 100)]


# Headers and refusals -------------------------------------------------------------------------------------------------


def test_the_headers_state_the_remaining_quota_of_a_policy(limits_of):
    made = limits_of()

    plan = made.plan(None)
    assert made.headers(made.count_here("caller", plan, NOW_MS / 1000 - NOW_MS / 1000 % 3600), plan) == [
        ("RateLimit", '"user";r=999;t=3601, "burst";r=99;t=1'),
        ("RateLimit-Policy", '"user";q=1000;w=3600, "burst";q=100;w=6'),
    ]


def test_a_refusal_states_a_retry_time_within_the_window(limits_of):
    made = limits_of(rate_limit_rpm=10, rate_limit_burst=1)
    made.count_here("caller", made.plan(None), NOW_MS / 1000)

    state = made.count_here("caller", made.plan(None), NOW_MS / 1000)
    problem = made.refusal(state, made.plan(None))

    assert (problem.status, problem.code) == (429, "rate_limited")
    assert problem.detail == 'The limit "burst" of 1 request in 6 s is used up; retry in 6 s.'
    assert problem.headers == {
        "RateLimit": '"user";r=999;t=6, "burst";r=0;t=6',
        "RateLimit-Policy": '"user";q=1000;w=3600, "burst";q=1;w=6',
        "Retry-After": "6",
    }


def test_a_refusal_names_the_quota_that_refuses(limits_of):
    made = limits_of(rate_limit_user="2/hour")
    for _ in range(3):
        state = made.count_here("caller", made.plan(None), NOW_MS / 1000)

    assert made.refusal(state, made.plan(None)).detail.startswith('The limit "user" of 2 requests in 3600 s is used up')


@pytest.mark.parametrize(
    "wrong",
    [
        *("100", "0/hour", "-1/hour", "100/fortnight", "1 per hour", "1.5/hour", "99999999/s"),
        *("10000000/hour", "1/month", "1/2hour", "1/hour;2/day", "1/Hour", "1/hours", "01/hour"),
    ],
)
def test_an_invalid_limit_stops_the_start_with_one_line(stack, database, wrong):
    with pytest.raises(SettingsError, match=r"^settings: RATE_LIMIT_USER: [^\n]*must be count/second"):
        settings_of(stack, database, rate_limit_user=wrong)


def test_a_plan_is_the_limit_of_each_caller_of_an_organization(limits_of):
    made = limits_of()
    usual, more = made.plan(None), made.plan(5_000)

    assert (usual.user.quota, more.user.quota, more.user.window_s) == (1_000, 5_000, 3_600)
    assert more.burst == usual.burst
    assert more.policy_header == ("RateLimit-Policy", '"user";q=5000;w=3600, "burst";q=100;w=6')
    assert [made.count_here("few", made.plan(1), NOW_MS / 1000).allowed for _ in range(2)] == [True, False]
    assert made.count_here("few", more, NOW_MS / 1000).allowed
