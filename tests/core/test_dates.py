"""Months, weeks and years, compared with the calendar day by day, and at both of its ends."""

from datetime import date, timedelta

import pytest

from campshub.core.dates import add_months, month_end, month_start, months_in, week_start, years_before

DAY = timedelta(days=1)
LEAP_DAY = date(2028, 2, 29)


def test_every_day_of_four_centuries_is_in_its_month_and_week():
    day, monday = date(1899, 12, 31), date(1899, 12, 25)
    first = date(1899, 12, 1)
    while day.year < 2301:
        day += DAY
        first = day if day.day == 1 else first
        monday = day if day.weekday() == 0 else monday
        assert (month_start(day), week_start(day)) == (first, monday)
        assert month_end(day) >= day
        assert (month_end(day) + DAY).day == 1
        assert month_end(day).month == day.month


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        (date(2026, 12, 31), 1, date(2027, 1, 1)),
        (date(2026, 1, 31), -1, date(2025, 12, 1)),
        (date(2026, 12, 31), 0, date(2026, 12, 1)),
        (date(2026, 12, 1), 12, date(2027, 12, 1)),
        (date(2026, 12, 1), -12, date(2025, 12, 1)),
        (date(2026, 11, 30), 14, date(2028, 1, 1)),
        (LEAP_DAY, 12, date(2029, 2, 1)),
        (LEAP_DAY, -1, date(2028, 1, 1)),
        (date(9998, 12, 31), 12, date(9999, 12, 1)),
        (date(2, 1, 31), -12, date(1, 1, 1)),
    ],
)
def test_months_are_added_across_years_and_leap_days(day, months, expected):
    assert add_months(day, months) == expected


def test_adding_months_one_by_one_reaches_the_same_months_as_at_once():
    day = date(2023, 12, 31)
    for count in range(1, 60):
        assert add_months(day, count) == month_end(add_months(day, count - 1)) + DAY
        assert add_months(day, -count) == month_start(add_months(day, 1 - count) - DAY)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (date(2026, 11, 30), date(2027, 1, 1), ["2026-11-01", "2026-12-01", "2027-01-01"]),
        (date(2026, 11, 30), date(2026, 11, 1), ["2026-11-01"]),
        (date(2026, 12, 1), date(2026, 11, 30), []),
        (date(9999, 11, 30), date.max, ["9999-11-01", "9999-12-01"]),
        (date.min, date(1, 2, 1), ["0001-01-01", "0001-02-01"]),
    ],
)
def test_the_months_of_a_range_include_both_ends(first, last, expected):
    assert [str(month) for month in months_in(first, last)] == expected


@pytest.mark.parametrize(
    ("day", "years", "expected"),
    [
        (LEAP_DAY, 1, date(2027, 2, 28)),
        (LEAP_DAY, 4, date(2024, 2, 29)),
        (LEAP_DAY, 128, date(1900, 2, 28)),
        (date(2026, 12, 31), 10, date(2016, 12, 31)),
        (date.max, 9998, date(1, 12, 31)),
    ],
)
def test_an_earlier_year_has_the_same_day_or_28_february(day, years, expected):
    assert years_before(day, years) == expected


def test_both_ends_of_the_calendar_have_a_month_and_a_week():
    assert (month_start(date.max), month_end(date.max)) == (date(9999, 12, 1), date.max)
    assert (month_start(date.min), month_end(date.min)) == (date.min, date(1, 1, 31))
    assert week_start(date.min) == date.min, "the calendar begins with a Monday"
    assert week_start(date.max) == date(9999, 12, 27)


def test_months_and_years_outside_the_calendar_are_refused():
    for beyond in (
        lambda: add_months(date.max, 1),
        lambda: add_months(date.min, -1),
        lambda: years_before(date.max, 9999),
    ):
        with pytest.raises(ValueError, match="year"):
            beyond()
