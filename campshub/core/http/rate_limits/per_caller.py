"""The two rate limits of an authenticated caller, counted in the one Redis call of a request, or here without Redis.

``user`` is a sliding window counter. The previous window counts in proportion to the part of it that lies within the
last ``window_s`` seconds. ``burst`` is the generic cell rate algorithm (GCRA): each request advances a theoretical
arrival time by one interval, and this time may be ahead of the clock by at most ``burst`` intervals. A refused request
changes neither, so retries do not extend the wait.

The arithmetic is in whole milliseconds and microseconds and stays below 2^53, so that Lua's doubles and Python's
integers have equal results.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from campshub.config import Settings, read_limit
from campshub.core.errors import RateLimited

# The state of one caller has 20 bytes: number of the window, its predecessor's count, its count, arrival time in
# microseconds. `room` is the time that remains of the window; `furthest_us` is how far ahead the arrival time may be.
_LUA = """
local function count(key, now_ms, quota, window_ms, burst, interval_us)
  local floor, max = math.floor, math.max
  now_ms, quota, window_ms = tonumber(now_ms), tonumber(quota), tonumber(window_ms)
  burst, interval_us = tonumber(burst), tonumber(interval_us)
  local window, elapsed, now_us = floor(now_ms / window_ms), now_ms % window_ms, now_ms * 1000
  local before, current, arrival = 0, 0, 0
  local stored = redis.call('GET', key)
  if stored and #stored == 20 then
    local stored_window, stored_before, stored_current, stored_arrival = struct.unpack('<I4I4I4d', stored)
    if stored_window == window + 1 then window, elapsed = stored_window, 0 end
    if stored_window == window then before, current = stored_before, stored_current
    elseif stored_window == window - 1 then before = stored_current end
    arrival = stored_arrival
  end
  local room, furthest_us = window_ms - elapsed, burst * interval_us
  if arrival < now_us or arrival > now_us + furthest_us + 60000000 then arrival = now_us end

  local used = before * room + current * window_ms
  local wait_ms, wait_us = 0, max(0, arrival + interval_us - now_us - furthest_us)
  if used >= quota * window_ms then
    if current < quota then wait_ms = room - floor(((quota - current) * window_ms - 1) / before)
    else wait_ms = room + window_ms - floor((quota * window_ms - 1) / current) end
  end
  local allowed = wait_ms <= 0 and wait_us == 0
  if allowed then
    current, used, arrival = current + 1, used + window_ms, arrival + interval_us
    local life_ms = max(2 * window_ms, floor(furthest_us / 1000) + 1)
    redis.call('SET', key, struct.pack('<I4I4I4d', window, before, current, arrival), 'PX', life_ms)
  end

  local whole_ms = 0
  if current > 0 then whole_ms = room + window_ms - floor((window_ms - 1) / current)
  elseif before > 0 then whole_ms = max(0, room - floor((window_ms - 1) / before)) end
  return allowed and 1 or 0,
    max(0, quota - floor(used / window_ms)), max(0, floor((furthest_us - (arrival - now_us)) / interval_us)),
    math.ceil(whole_ms / 1000), math.ceil((arrival - now_us) / 1000000),
    allowed and 0 or max(1, math.ceil(wait_ms / 1000), math.ceil(wait_us / 1000000))
end
"""
# An arrival time may be ahead of its bound by this much, because a clock was set back. More is an error: start at now.
_CLOCK_SET_BACK_US = 60_000_000
_MINUTE_US = 60_000_000
_MOST_CALLERS = 20_000
_MOST_PLANS = 1_000
_HOUR_S = 3600


@dataclass(frozen=True)
class Policy:
    """One rate limit: its name, its quota and its window in seconds."""

    name: str
    quota: int
    window_s: int


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """The state of a caller's limits after one request; pairs are for ``user`` and ``burst``."""

    allowed: bool
    remaining: tuple[int, int]
    reset_s: tuple[int, int]
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class LimitPlan:
    """The two limits of one caller, as the parameters of the Lua function and as a header."""

    user: Policy
    burst: Policy
    parameters: tuple[int, int, int, int]
    policy_header: tuple[str, str]


# The stored state of a caller; the same four numbers as in Redis.
_State = tuple[int, int, int, int]


class CallerLimits:
    """The limits of authenticated callers.

    ``lua`` defines ``count(key, now_ms, quota, window_ms, burst, interval_us)``; the last four are
    ``LimitPlan.parameters``. It stores a caller in one string, with one GET and at most one SET. It returns the six
    numbers of a ``RateLimitState``.
    """

    lua = _LUA

    def __init__(self, settings: Settings) -> None:
        self._quota, self._window_s = read_limit(settings.rate_limit_user)
        self._burst, self._interval_us = settings.rate_limit_burst, _MINUTE_US // settings.rate_limit_rpm
        self._plans: dict[int | None, LimitPlan] = {}
        self._callers: OrderedDict[str, _State] = OrderedDict()
        self._lock = Lock()

    def plan(self, per_hour: int | None) -> LimitPlan:
        """Return the limits for an organization with its own requests per hour and caller; None: the default limits."""
        found = self._plans.get(per_hour)
        if found is None:
            quota, window_s = (self._quota, self._window_s) if per_hour is None else (per_hour, _HOUR_S)
            burst, interval_us = self._burst, self._interval_us
            user = Policy("user", quota, window_s)
            burst_policy = Policy("burst", burst, max(1, _up(burst * interval_us, 1_000_000)))
            parameters = (quota, window_s * 1000, burst, interval_us)
            header = ("RateLimit-Policy", policies(user, burst_policy))
            found = LimitPlan(user, burst_policy, parameters, header)
            if len(self._plans) < _MOST_PLANS:
                self._plans[per_hour] = found
        return found

    def state_of(self, numbers: Sequence[int]) -> RateLimitState:
        """Return the state from the six numbers of the Lua function."""
        allowed, user, burst, user_s, burst_s, retry_after_s = numbers
        return RateLimitState(allowed == 1, (user, burst), (user_s, burst_s), retry_after_s)

    def count_here(self, caller: str, plan: LimitPlan, now: float | None = None) -> RateLimitState:
        """Count one request in this process, like the Lua function; ``now`` is in seconds since 1970."""
        now_ms = round((time.time() if now is None else now) * 1000)
        with self._lock:
            self._forget_idle(now_ms)
            stored, state = _count(self._callers.get(caller), now_ms, *plan.parameters)
            if state.allowed:
                self._callers[caller] = stored
                self._callers.move_to_end(caller)
        return state

    def headers(self, state: RateLimitState, plan: LimitPlan) -> list[tuple[str, str]]:
        """Return the rate limit headers (draft-ietf-httpapi-ratelimit-headers-11).

        The times of a refusal do not exceed its Retry-After, as the draft requires.
        """
        user, burst = state.remaining
        user_s, burst_s = state.reset_s
        wait_s = state.retry_after_s
        if state.allowed:
            return [("RateLimit", f'"user";r={user};t={user_s}, "burst";r={burst};t={burst_s}'), plan.policy_header]
        limits = f'"user";r={user};t={min(user_s, wait_s)}, "burst";r={burst};t={min(burst_s, wait_s)}'
        return [("RateLimit", limits), plan.policy_header, ("Retry-After", str(wait_s))]

    def refusal(self, state: RateLimitState, plan: LimitPlan) -> RateLimited:
        """Return the problem for a refused caller."""
        policy = plan.burst if state.remaining[0] else plan.user
        return refusal(policy, state.retry_after_s, dict(self.headers(state, plan)))

    def _forget_idle(self, now_ms: int) -> None:
        """Remove callers that were idle for two windows; at the maximum number, remove the one idle for longest."""
        callers, window_ms = self._callers, max(self._window_s, _HOUR_S) * 1000
        while callers:
            caller = next(iter(callers))
            window, _, _, arrival = callers[caller]
            is_idle = window < now_ms // window_ms - 1 and arrival <= now_ms * 1000
            if not is_idle and len(callers) < _MOST_CALLERS:
                return
            del callers[caller]


def policies(*several: Policy) -> str:
    """Return the value of RateLimit-Policy."""
    return ", ".join(f'"{policy.name}";q={policy.quota};w={policy.window_s}' for policy in several)


def refusal(policy: Policy, retry_after_s: int, headers: dict[str, str]) -> RateLimited:
    """Return the problem that names a limit and the seconds until a retry."""
    requests = "1 request" if policy.quota == 1 else f"{policy.quota} requests"
    return RateLimited(
        f'The limit "{policy.name}" of {requests} in {policy.window_s} s is used up; retry in {retry_after_s} s.',
        headers=headers,
    )


def _count(
    stored: _State | None, now_ms: int, quota: int, window_ms: int, burst: int, interval_us: int
) -> tuple[_State, RateLimitState]:
    """Count one request; line by line the same as the Lua function above, with its names."""
    window, elapsed = divmod(now_ms, window_ms)
    now_us = now_ms * 1000
    before = current = arrival = 0
    if stored is not None:
        stored_window, stored_before, stored_current, arrival = stored
        if stored_window == window + 1:  # another request with a later clock has been counted first
            window, elapsed = stored_window, 0
        if stored_window == window:
            before, current = stored_before, stored_current
        elif stored_window == window - 1:
            before = stored_current
    room, furthest_us = window_ms - elapsed, burst * interval_us
    if not now_us <= arrival <= now_us + furthest_us + _CLOCK_SET_BACK_US:
        arrival = now_us

    used = before * room + current * window_ms
    wait_ms, wait_us = 0, max(0, arrival + interval_us - now_us - furthest_us)
    if used >= quota * window_ms:
        wait_ms = _until_free(before, current, room, quota, window_ms)
    allowed = wait_ms <= 0 and wait_us == 0
    if allowed:
        current, used, arrival = current + 1, used + window_ms, arrival + interval_us
    state = RateLimitState(
        allowed,
        (max(0, quota - used // window_ms), max(0, (furthest_us - (arrival - now_us)) // interval_us)),
        (_up(_until_whole(before, current, room, window_ms), 1000), _up(arrival - now_us, 1_000_000)),
        0 if allowed else max(1, _up(wait_ms, 1000), _up(wait_us, 1_000_000)),
    )
    return (window, before, current, arrival), state


def _until_free(before: int, current: int, room: int, quota: int, window_ms: int) -> int:
    """Return the milliseconds until one request is allowed, in this window or in the next one."""
    if current < quota:
        return room - ((quota - current) * window_ms - 1) // before
    return room + window_ms - (quota * window_ms - 1) // current


def _until_whole(before: int, current: int, room: int, window_ms: int) -> int:
    """Return the milliseconds until the whole quota is available: until less than one request counts against it."""
    if current:
        return room + window_ms - (window_ms - 1) // current
    return max(0, room - (window_ms - 1) // before) if before else 0


def _up(value: int, unit: int) -> int:
    """Divide, and round up."""
    return -(-value // unit)
