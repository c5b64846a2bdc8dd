"""What is read: every kind of response that is cached separately, and how to find the levels in it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from bench.freshness.rows import Enrolment, Group, Mark, Newcomers, Row, Student, TrainingSet, User, count_of

LIMIT = "limit=200"
R = TypeVar("R", bound=Row)
Find = Callable[[Any], Mapping[int, int]]


@dataclass(frozen=True)
class Shape:
    """One URL with its parameters: the slots that it must show, and where they are."""

    path: str
    slots: Sequence[int]
    find: Find
    rows: frozenset[int] = frozenset()
    roles: tuple[str, ...] = ("admin", "nutritionist", "trainer")


@dataclass
class Content:
    """The rows of one organization."""

    group: str
    session: str
    day: str
    students: list[Student]
    groups: list[Group]
    enrolments: list[Enrolment]
    marks: list[Mark]
    sets: list[TrainingSet]
    newcomers: Newcomers
    user: User

    @property
    def rows(self) -> list[Row]:
        """Return all of them."""
        several = (self.students, self.groups, self.enrolments, self.marks, self.sets)
        return [*chain.from_iterable(several), self.newcomers, self.user]


def of(content: Content) -> list[Shape]:
    """Return every read of an organization."""
    return [*_students(content), *_groups(content), *_attendance(content), *_workouts(content), *_people(content)]


def _one(row: Row, path: str, **options: Any) -> Shape:
    return Shape(path, row.slots, lambda body: dict(row.shown(body)), frozenset({row.version_slot}), **options)


def _several(
    path: str,
    rows: Sequence[R],
    key: Callable[[R], str],
    name: str = "id",
    shown: Callable[[R, Any], Iterable[tuple[int, int]]] = lambda row, item: row.shown(item),
    slots: Callable[[R], Sequence[int]] = lambda row: row.slots,
    **options: Any,
) -> Shape:
    by_key = {key(row): row for row in rows}

    def find(body: Any) -> dict[int, int]:
        known = ((by_key.get(item[name]), item) for item in body["items"])
        return dict(chain.from_iterable(shown(row, item) for row, item in known if row is not None))

    found = tuple(chain.from_iterable(slots(row) for row in rows))
    return Shape(path, found, find, frozenset(row.version_slot for row in rows), **options)


def _named(row: Row) -> Find:
    return lambda item: {row.count_slot: row.counter(item[row.column])}


def _row_id(row: Row) -> str:
    return row.id


def _count(row: Row) -> Sequence[int]:
    return (row.count_slot,)


def _version(row: Row) -> Sequence[int]:
    return (row.version_slot,)


def _students(content: Content) -> list[Shape]:
    base, students = f"/api/students/?{LIMIT}", content.students
    lists = ("sort=created", "sort=created&status=active", f"group_id={content.group}", "tag=checked", "q=checked")
    staff: dict[str, Any] = {"roles": ("admin", "nutritionist")}
    return [
        *(_one(row, row.path) for row in students),
        *(_several(f"{base}&{query}", students, _row_id) for query in lists),
        _several(f"{base}&sort=created&fields=id,version", students, _row_id, slots=_version),
        _several(f"/api/groups/{content.group}/roster/?{LIMIT}", students, _row_id, slots=_count),
        _arrivals(content.newcomers, "/api/students/?sort=-created&limit=3", **staff),
        _total(content, "/api/students/statistics/", **staff),
    ]


def _arrivals(row: Newcomers, path: str, **options: Any) -> Shape:
    def find(body: Any) -> dict[int, int]:
        return {row.count_slot: max(count_of(item["code"]) for item in body["items"])}

    return Shape(path, _count(row), find, frozenset({row.version_slot}), **options)


def _total(content: Content, path: str, **options: Any) -> Shape:
    row, others = content.newcomers, len(content.students)
    return Shape(
        path,
        _count(row),
        lambda body: {row.count_slot: body["total"] - others},
        frozenset({row.version_slot}),
        **options,
    )


def _groups(content: Content) -> list[Shape]:
    base = f"/api/groups/{content.group}/enrolments/?{LIMIT}"
    by_enrolment: dict[str, Any] = {"key": _row_id, "name": "enrolment_id", "slots": _count}
    own = [row for row in content.groups if row.id == content.group]
    return [
        *(_one(row, row.path) for row in content.groups if row.id == content.group),
        *(_one(row, row.path, roles=("admin", "nutritionist")) for row in content.groups if row.id != content.group),
        _several(f"/api/groups/?{LIMIT}", content.groups, _row_id, roles=("admin", "nutritionist")),
        _several(f"/api/groups/?{LIMIT}&status=active", own, _row_id),
        *(_one(row, row.path) for row in content.enrolments),
        _several(base, content.enrolments, _row_id),
        _several(f"{base}&status=active", content.enrolments, _row_id),
        _several(f"/api/groups/{content.group}/roster/?{LIMIT}", content.enrolments, **by_enrolment),
    ]


def _attendance(content: Content) -> list[Shape]:
    day, marks = content.day, content.marks
    base = f"/api/attendance/records/?{LIMIT}&from={day}&to={day}"
    register = f"/api/attendance/sessions/{content.session}/records/?{LIMIT}"
    roles: dict[str, Any] = {"roles": ("admin", "trainer")}

    def in_register(row: Mark, item: Any) -> Iterable[tuple[int, int]]:
        return row.shown(item["mark"] or {})

    return [
        *(_one(row, row.path, **roles) for row in marks),
        _several(base, marks, _row_id, **roles),
        _several(f"{base}&session_id={content.session}", marks, _row_id, **roles),
        _several(register, marks, lambda row: row.student_id, "student_id", in_register, **roles),
        # The register shows names as well: students are among its tags.
        _several(register, content.students, _row_id, "student_id", slots=_count, **roles),
        *(_several(f"{base}&student_id={row.student_id}", [row], _row_id, **roles) for row in marks[:4]),
        *(
            _several(f"/api/students/{row.student_id}/attendance/?from={day}&to={day}", [row], _row_id, **roles)
            for row in marks[:4]
        ),
    ]


def _workouts(content: Content) -> list[Shape]:
    def log_of(row: TrainingSet) -> str:
        return row.log_id

    def header(row: TrainingSet, item: Any) -> Iterable[tuple[int, int]]:
        return row.shown_by_header(item)

    return [
        *(_one(row, row.path) for row in content.sets),
        *(_log(row) for row in content.sets),
        _several(f"/api/workout-logs/?{LIMIT}", content.sets, log_of, "id", header, _count),
        *(
            _several(f"/api/students/{student.id}/workouts/?{LIMIT}", [row], log_of, "id", header, _count)
            for student, row in list(zip(content.students, content.sets, strict=True))[:4]
        ),
    ]


def _log(row: TrainingSet) -> Shape:
    path = f"/api/workout-logs/{row.log_id}/"
    return Shape(path, row.slots, lambda body: dict(row.shown_by_log(body)), frozenset({row.version_slot}))


def _people(content: Content) -> list[Shape]:
    user = content.user
    return [
        _one(user, "/api/me/", roles=("admin",)),
        # The version there is the membership's.
        Shape(f"/api/users/{user.id}/", _count(user), _named(user), frozenset({user.version_slot})),
        _several(
            f"/api/users/?{LIMIT}", [user], _row_id, shown=lambda row, item: _named(row)(item).items(), slots=_count
        ),
    ]
