"""Properties of planned sessions in zones whose clocks change, skip a date, or have an offset with minutes."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campshub.core.dates import date_exists, local_instant, week_start
from campshub.core.db.models import new_id
from campshub.timetables.plan import Days, OpenDays, in_week_of, is_planned, occurrence, occurrences

ZONES = ("Asia/Kolkata", "America/New_York", "Europe/London", "Pacific/Apia", "Asia/Kathmandu", "America/Nuuk")
ALWAYS = OpenDays()
DAY = timedelta(days=1)
SKIPPED = date(2011, 12, 30)  # Apia crossed the date line

zones = st.sampled_from(ZONES).map(ZoneInfo)
times = st.times().map(lambda at: at.replace(second=0, microsecond=0))
# Both changes of a year are in it, of each zone that has any, and the date that Apia skipped.
days = st.dates(date(2011, 1, 1), date(2012, 6, 30)) | st.dates(date(2024, 1, 1), date(2027, 12, 31))


def meeting(**fields):
    row_id = new_id()
    usual = {"slot": "A", "weekday": 0, "start_time": "09:00", "end_time": "10:00", "weeks": "every", "last_date": None}
    dates = {"first_date": date(2011, 1, 1), "anchor_date": date(2011, 1, 1)}
    return SimpleNamespace(id=row_id, series_id=row_id, group_id=new_id(), **{**usual, **dates, **fields})


def text(at):
    return at.strftime("%H:%M")


@given(days, times, zones)
def test_a_local_time_that_exists_is_what_the_clock_shows_at_its_instant(day, at, zone):
    instant = local_instant(day, at, zone)
    shown = instant.astimezone(zone).replace(tzinfo=None)
    wanted = datetime.combine(day, at)

    # Either the clock shows it, or the time does not exist and is moved forward, by the length of the gap.
    before = (datetime.combine(day, at, zone) - timedelta(days=2)).utcoffset()
    if shown == wanted:
        assert instant == min(datetime.combine(day, at, zone).replace(fold=f).astimezone(UTC) for f in (0, 1))
    else:
        after = instant.astimezone(zone).utcoffset()
        assert shown - wanted == after - before > timedelta(0)


@pytest.mark.parametrize(
    ("zone", "day", "at", "utc"),
    [
        ("America/New_York", date(2026, 3, 8), "02:30", "2026-03-08T07:30"),  # skipped: 03:30 in summer time
        ("America/New_York", date(2026, 3, 8), "03:30", "2026-03-08T07:30"),
        ("America/New_York", date(2026, 11, 1), "01:30", "2026-11-01T05:30"),  # twice: the first, in summer time
        ("Europe/London", date(2026, 3, 29), "01:15", "2026-03-29T01:15"),
        ("Europe/London", date(2026, 10, 25), "01:15", "2026-10-25T00:15"),
        ("Asia/Kolkata", date(2026, 3, 29), "01:15", "2026-03-28T19:45"),
        ("Asia/Kathmandu", date(2026, 3, 29), "01:15", "2026-03-28T19:30"),
        ("Pacific/Apia", SKIPPED, "09:00", "2011-12-30T19:00"),  # 09:00 of the 31st
    ],
)
def test_local_times_on_the_day_of_a_clock_change(zone, day, at, utc):
    assert local_instant(day, time.fromisoformat(at), ZoneInfo(zone)) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


def test_only_apia_has_skipped_a_date():
    assert [zone for zone in ZONES if not date_exists(SKIPPED, ZoneInfo(zone))] == ["Pacific/Apia"]


@given(days, times, times, zones)
def test_a_session_ends_after_its_start_and_within_a_day_of_the_clock(day, begin, end, zone):
    planned = occurrence(meeting(start_time=text(begin), end_time=text(end)), day, zone)

    length = planned.ends_at - planned.starts_at
    # Apia's skipped date is a gap of a day.
    assert timedelta(0) < length <= timedelta(hours=25)
    if date_exists(day, zone) and zone.key != "America/Nuuk":  # its clocks skip the last hour of a day
        assert planned.starts_at.astimezone(zone).date() == day


@given(zones, times, times, st.integers(0, 6), st.integers(2012, 2030))
def test_a_year_of_sessions_has_each_date_once(zone, begin, end, weekday, year):
    weekly = meeting(weekday=weekday, start_time=text(begin), end_time=text(end))
    first_date, last_date = date(year, 1, 1), date(year, 12, 31)

    planned = list(occurrences(weekly, first_date, last_date, ALWAYS, zone))

    dates = [one.planned_on for one in planned]
    wanted = [first_date + n * DAY for n in range((last_date - first_date).days + 1)]
    assert dates == [day for day in wanted if day.weekday() == weekday]
    assert len({one.starts_at for one in planned}) == len(planned)
    assert sorted(planned, key=lambda one: one.starts_at) == planned


def test_a_date_that_a_zone_skips_has_no_session():
    friday = meeting(weekday=SKIPPED.weekday())
    apia, around = ZoneInfo("Pacific/Apia"), (SKIPPED - 7 * DAY, SKIPPED + 7 * DAY)

    assert [one.planned_on for one in occurrences(friday, *around, ALWAYS, apia)] == [around[0], around[1]]


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/London", "Asia/Kathmandu"])
def test_a_session_across_midnight_ends_on_the_next_day(zone):
    night = meeting(start_time="22:00", end_time="01:30")

    for planned in occurrences(night, date(2026, 1, 1), date(2026, 12, 31), ALWAYS, ZoneInfo(zone)):
        end = planned.ends_at.astimezone(ZoneInfo(zone))
        assert (end.date(), text(end)) == (planned.planned_on + DAY, "01:30")


def test_a_start_that_the_clocks_skip_past_the_end_keeps_the_length():
    planned = occurrence(meeting(start_time="02:30", end_time="03:15"), date(2026, 3, 8), ZoneInfo("America/New_York"))

    assert planned.ends_at - planned.starts_at == timedelta(minutes=45)


@given(days, st.sampled_from(["odd", "even"]))
def test_odd_and_even_weeks_follow_the_number_of_the_iso_week(day, weeks):
    weekly = meeting(weekday=day.weekday(), weeks=weeks)

    assert is_planned(weekly, day, ALWAYS, ZoneInfo("UTC")) == (day.isocalendar().week % 2 == (weeks == "odd"))


@given(days, days.filter(lambda day: day.year > 2020), st.integers(0, 6))
def test_every_second_week_is_counted_from_the_week_of_the_anchor(anchor, start, weekday):
    weekly = meeting(weekday=weekday, weeks="second", anchor_date=anchor)

    planned = [one.planned_on for one in occurrences(weekly, start, start + 200 * DAY, ALWAYS, ZoneInfo("UTC"))]

    assert {(after - before).days for before, after in pairwise(planned)} == {14}
    assert {(week_start(day) - week_start(anchor)).days % 14 for day in planned} == {0}


def test_terms_holidays_and_the_dates_of_group_and_version_limit_the_sessions():
    monday = date(2026, 6, 1)
    mondays = [monday + n * 7 * DAY for n in range(12)]
    weekly = meeting(first_date=mondays[1], last_date=mondays[10])
    term = Days("Summer", mondays[2], mondays[9])
    holiday = Days("Trip", mondays[5] - DAY, mondays[6])
    open_days = OpenDays(mondays[3], mondays[8], [term], [holiday])

    def planned(limits):
        return [one.planned_on for one in occurrences(weekly, monday, mondays[-1], limits, ZoneInfo("UTC"))]

    assert planned(ALWAYS) == mondays[1:11]
    assert planned(OpenDays(terms=[term])) == mondays[2:10]
    assert planned(OpenDays(holidays=[holiday])) == [*mondays[1:5], *mondays[7:11]]
    assert planned(open_days) == [mondays[3], mondays[4], mondays[7], mondays[8]]


@given(days, st.integers(0, 6))
def test_a_moved_meeting_stays_in_its_week(day, weekday):
    moved = in_week_of(day, meeting(weekday=weekday))

    assert (moved.weekday(), moved.isocalendar()[:2]) == (weekday, day.isocalendar()[:2])
