"""What the tests of all modules need from timetables."""

from datetime import timedelta

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.dates import today
from tests.declared import Declared, Examples, Large

CALENDARS, CALENDAR = "/api/calendars/", "/api/calendars/<uuid:calendar_id>/"
TERM, HOLIDAY = f"{CALENDAR}terms/<uuid:term_id>/", f"{CALENDAR}holidays/<uuid:holiday_id>/"
OF_GROUP = "/api/groups/<uuid:group_id>/"
MEETING = f"{OF_GROUP}meetings/<uuid:meeting_id>/"
OF_ONE_CALENDAR = "within one calendar, which has an index"
OF_ONE_GROUP = "within one group, which has an index"
# Meetings that begin so late have no sessions, which would be in the way of other modules' tests.
LATE = "2199-01-05"
NEW = {"weekday": 0, "start_time": "06:00", "end_time": "07:00", "first_date": LATE}
DAYS = {"from": OF_ONE_CALENDAR, "to": OF_ONE_CALENDAR}


def seed(seeds):
    word = seeds.word
    calendar, _ = seeds.create_two(
        "calendar_id", CALENDARS, {"name": f"Calendar {word}"}, {"name": f"Calendar two {word}"}
    )
    for name, kind in (("term_id", "terms"), ("holiday_id", "holidays")):
        days = ({"name": f"{kind} {n} {word}", "first_date": LATE, "last_date": LATE} for n in (1, 2))
        seeds.create_two(name, f"{CALENDARS}{calendar}/{kind}/", *days)
    group = f"/api/groups/{seeds.ids['group_id']}/"
    meetings = ({**NEW, "slot": f"M{n} {word}"[:40], "place": f"Hall {word}"} for n in (1, 2))
    seeds.create_two("meeting_id", f"{group}meetings/", *meetings)
    seeds.ids["series_id"] = seeds.ids["meeting_id"]
    follow(seeds, seeds.tenant.the(Role.ADMIN))


def follow(seeds, client):
    """Let the group follow the calendar."""
    body = {"calendar_id": seeds.ids["calendar_id"]}
    assert client.put(f"/api/groups/{seeds.ids['group_id']}/calendar/", body).status == 200


def unused_calendar(day):
    """Delete a calendar that no group follows, instead of the one of the examples."""
    unfollowed(day.seeds, day.seeds.tenant.the(Role.ADMIN))
    day.ids["calendar_id"] = day.seeds.ids["calendar_id"]


def other_group(seeds, client):
    """Create a group with a meeting that has sessions."""
    seeds.ids["group_id"] = client.made("/api/groups/", {"code": f"T{len(seeds.others)}", "name": "Timed"})["id"]
    seeds.others.add(seeds.ids["group_id"])
    weekday = (today() + timedelta(days=1)).weekday()
    body = {**NEW, "weekday": weekday, "first_date": "2020-01-06"}
    seeds.ids["meeting_id"] = client.made(f"/api/groups/{seeds.ids['group_id']}/meetings/", body)["id"]


def unfollowed(seeds, client):
    """Create a calendar that no group follows."""
    made = client.made(CALENDARS, {"name": f"Unused {new_id().hex}"})["id"]
    days = {"name": "T", "first_date": LATE, "last_date": LATE}
    client.made(f"{CALENDARS}{made}/terms/", days)
    seeds.ids["calendar_id"] = made


def conflicts(seeds):
    yield CALENDARS, {"name": "C"}, {}, "name_taken", ("name", "C-0")
    url = f"/api/groups/{seeds.ids['group_id']}/meetings/"
    yield url, {**NEW, "weekday": 2}, {"end_time": "07:30"}, "slot_taken", None  # it has no PATCH


def rows(connection, made):
    """Create rows in the large organization, unless they exist; return the ids of one each."""
    values = {"organization_id": made.organization_id, "group_id": made.group_id}
    connection.execute(
        """
        WITH one AS (
          INSERT INTO calendars (organization_id, id, name, sort_name)
          SELECT %(organization_id)s, uuidv7(), 'Calendar ' || n, 'calendar ' || n FROM generate_series(1, 60) n
           WHERE NOT EXISTS (SELECT FROM calendars WHERE organization_id = %(organization_id)s) RETURNING id),
        terms AS (
          INSERT INTO calendar_terms (organization_id, id, calendar_id, name, first_date, last_date)
          SELECT %(organization_id)s, uuidv7(), id, 'Term ' || n, current_date + n * 90, current_date + n * 90 + 60
            FROM one, generate_series(-8, 8) n),
        holidays AS (
          INSERT INTO calendar_holidays (organization_id, id, calendar_id, name, first_date, last_date)
          SELECT %(organization_id)s, uuidv7(), id, 'Holiday ' || n, current_date + n * 20, current_date + n * 20
            FROM one, generate_series(-30, 30) n),
        followed AS (
          INSERT INTO group_calendars (organization_id, id, calendar_id)
          SELECT g.organization_id, g.id, (SELECT min(id::text)::uuid FROM one) FROM groups g
           WHERE g.organization_id = %(organization_id)s AND EXISTS (SELECT FROM one))
        INSERT INTO weekly_meetings (organization_id, id, group_id, series_id, slot, weekday, start_time, end_time,
                                     anchor_date, first_date)
        SELECT g.organization_id, uuidv7(), g.id, uuidv7(), '09:00', n, '09:00', '10:00', '2020-01-06', '2020-01-06'
          FROM groups g, generate_series(0, 4) n
         WHERE g.organization_id = %(organization_id)s AND EXISTS (SELECT FROM one)
        """,
        values,
    )
    connection.execute("ANALYZE calendars, calendar_terms, calendar_holidays, group_calendars, weekly_meetings")
    found = connection.execute(
        """
        SELECT c.id, (SELECT id FROM calendar_terms t WHERE t.organization_id = c.organization_id
                         AND t.calendar_id = c.id LIMIT 1),
               (SELECT id FROM calendar_holidays h WHERE h.organization_id = c.organization_id
                   AND h.calendar_id = c.id LIMIT 1),
               (SELECT id FROM weekly_meetings m WHERE m.organization_id = c.organization_id
                   AND m.group_id = %(group_id)s LIMIT 1)
          FROM calendars c WHERE c.organization_id = %(organization_id)s LIMIT 1
        """,
        values,
    ).fetchone()
    return dict(zip(("calendar_id", "term_id", "holiday_id", "meeting_id"), map(str, found), strict=True))


DECLARED = Declared(
    seed=seed,
    empty={"calendar_id": (CALENDARS, {"name": "Empty"})},
    budgets={
        f"GET {CALENDARS}": 1,
        f"GET {CALENDAR}": 1,
        f"GET {CALENDAR}terms/": 1,
        f"GET {TERM}": 1,
        f"GET {CALENDAR}holidays/": 1,
        f"GET {HOLIDAY}": 1,
        f"GET {OF_GROUP}calendar/": 1,
        f"GET {OF_GROUP}meetings/": 1,
        f"GET {MEETING}": 1,
        f"GET {OF_GROUP}timetable/": 3,  # the group with its calendar's days, the meetings, the sessions
        f"POST {CALENDARS}": 2,
        f"POST {CALENDAR}terms/": 3,  # the calendar is locked, so that no one creates sessions from it
        f"POST {CALENDAR}holidays/": 3,
        # The time zone and the days ahead; the group is locked; the plan of sessions is read, and they are created.
        f"POST {OF_GROUP}meetings/": 12,
        f"POST {MEETING}change/": 17,  # the sessions are locked and moved as well
        f"POST {MEETING}end/": 14,
        f"PUT {OF_GROUP}calendar/": 18,  # as a new meeting; and what the group follows, before and after
        f"PATCH {CALENDAR}": 3,
        f"PATCH {TERM}": 4,
        f"PATCH {HOLIDAY}": 4,
        f"DELETE {CALENDAR}": 7,  # its terms and holidays too
        f"DELETE {TERM}": 4,
        f"DELETE {HOLIDAY}": 4,
    },
    creates={f"POST {OF_GROUP}meetings/": 14},  # see its budget
    bodies={
        f"PATCH {CALENDAR}": {"name": "Another year"},
        f"PATCH {TERM}": {"name": "Spring"},
        f"PATCH {HOLIDAY}": {"name": "Excursion"},
        f"PUT {OF_GROUP}calendar/": {"calendar_id": None},
        f"POST {MEETING}change/": {"from_date": "2199-12-30", "place": "Field"},
        f"POST {MEETING}end/": {"from_date": "2199-12-30"},
    },
    before={
        f"POST {MEETING}change/": other_group,
        f"POST {MEETING}end/": other_group,
        f"PUT {OF_GROUP}calendar/": follow,
        f"DELETE {CALENDAR}": unfollowed,
    },
    real_bodies={f"DELETE {CALENDAR}": unfollowed},
    values={"start_time": "06:00", "end_time": "07:00"},
    schemas={"WeeklyMeetingChange": {"from_date": "2199-12-30"}, "WeeklyMeetingEnd": {"from_date": "2199-12-30"}},
    texts=frozenset({"start_time", "end_time"}),
    lists={
        CALENDARS: {"group_id": ("group_calendars", "id"), "sort name": ("calendars", "sort_name")},
        f"{CALENDAR}terms/": {**DAYS, "sort first_date": ("calendar_terms", "calendar_id", "first_date", "id")},
        f"{CALENDAR}holidays/": {**DAYS, "sort first_date": ("calendar_holidays", "calendar_id", "first_date", "id")},
        f"{OF_GROUP}meetings/": {
            "on": OF_ONE_GROUP,
            "series_id": ("weekly_meetings", "series_id"),
            "sort weekday": ("weekly_meetings", "group_id", "weekday", "start_time", "id"),
        },
    },
    conflicts=conflicts,
    others={
        f"POST {CALENDAR}terms/": {"name": "Something else"},
        f"POST {CALENDAR}holidays/": {"name": "Something else"},
        f"POST {OF_GROUP}meetings/": {"place": "Something else"},
    },
    examples=Examples(
        first=(
            *("createCalendar", "createCalendarTerm", "createCalendarHoliday", "createWeeklyMeeting"),
            *("changeWeeklyMeeting", "endWeeklyMeeting"),
        ),
        before={"deleteCalendar": unused_calendar},
    ),
    large=Large(
        rows=rows,
        values=lambda _made, ids: {"series_id": [ids["meeting_id"]]},
        most_days={f"GET {OF_GROUP}timetable/": 100},
        tables=frozenset({"weekly_meetings"}),
    ),
)
