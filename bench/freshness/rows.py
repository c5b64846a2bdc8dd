"""What is written: rows that one writer at a time changes, each with a version and a counter that rise."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, ClassVar

from bench.freshness.ledger import Ledger

FAR = date(2040, 1, 1)
Levels = Iterator[tuple[int, int]]


def count_of(text: Any) -> int:
    """Parse a counter from a text field: ``n12``."""
    return int(text[1:]) if isinstance(text, str) and text[:1] == "n" and text[1:].isdigit() else 0


@dataclass(frozen=True)
class Change:
    """One change to send; ``count`` is the value it writes."""

    method: str
    path: str
    body: Mapping[str, Any]
    count: int
    conditional: bool = True


@dataclass
class Row:
    """One row. ``version`` and ``count`` are what its writer knows to be stored, unless it is in doubt."""

    kind: ClassVar[str]
    table: ClassVar[str]
    column: ClassVar[str]

    ledger: Ledger = field(repr=False)
    path: str
    id: str
    version: int = 1
    count: int = 1
    in_doubt: bool = False
    # A write without a response may still arrive, until the next one is acknowledged.
    is_doubtful: bool = False

    def __post_init__(self) -> None:
        """Open the row's two slots."""
        name = f"{self.kind} {self.id}"
        self.version_slot = self.ledger.slot(f"{name} version", self.version)
        self.count_slot = self.ledger.slot(f"{name} counter", self.count)

    @property
    def slots(self) -> tuple[int, int]:
        """Return both slots."""
        return self.version_slot, self.count_slot

    def change(self) -> Change:
        """Return the next change."""
        return Change("PATCH", self.path, self.body(self.count + 1), self.count + 1)

    def body(self, count: int) -> dict[str, Any]:
        """Return the request body that writes a counter."""
        return {self.column: f"n{count}"}

    def counter(self, shown: Any) -> int:
        """Return the counter in the row's column."""
        return count_of(shown)

    def shown(self, item: Mapping[str, Any]) -> Levels:
        """Yield the levels that an item of a response shows; missing fields yield nothing."""
        if "version" in item:
            yield self.version_slot, item["version"]
        if self.column in item:
            yield self.count_slot, self.counter(item[self.column])

    @property
    def truth(self) -> tuple[str, str]:
        """Return the statement that reads version and column from the database, and its parameter."""
        return f"SELECT version, {self.column} FROM {self.table} WHERE id = %s", self.id  # noqa: S608 - our own names

    def version_after(self, response: Mapping[str, Any]) -> int:
        """Return the version in the response to a change."""
        return int(response["version"])

    def acknowledge(self, version: int, count: int) -> None:
        """Adopt the result of a write, and raise the floors of all readers."""
        self.version, self.count = version, count
        self.in_doubt = self.is_doubtful = False
        self.ledger.acknowledge(self.version_slot, version)
        self.ledger.acknowledge(self.count_slot, count)


class Student(Row):
    """A student; the preferred name is the counter."""

    kind, table, column = "student", "students", "preferred_name"


class Group(Row):
    """A group; the name is the counter."""

    kind, table, column = "group", "groups", "name"


class User(Row):
    """The admin; the name is the counter. Its tag is the one that sign-in reads."""

    kind, table, column = "user", "users", "name"


class Enrolment(Row):
    """An enrolment; the last day is the counter."""

    kind, table, column = "enrolment", "enrolments", "ends_on"

    def body(self, count: int) -> dict[str, Any]:
        """Return the last day that represents a counter."""
        return {"ends_on": (FAR + timedelta(days=count)).isoformat()}

    def counter(self, shown: Any) -> int:
        """Return the counter that a last day represents."""
        return ((shown if isinstance(shown, date) else date.fromisoformat(shown)) - FAR).days if shown else 0


@dataclass
class Mark(Row):
    """An attendance mark; the note is the counter. It is changed directly and through its register in turns."""

    kind, table, column = "mark", "attendance_records", "note"

    register: str = ""
    student_id: str = ""

    def change(self) -> Change:
        """Return the next change, every other time as a row of the register."""
        if self.count % 2:
            return super().change()
        count = self.count + 1
        row = {"student_id": self.student_id, "code": "present", "note": f"n{count}", "version": self.version}
        return Change("PUT", self.register, {"records": [row]}, count, conditional=False)

    def version_after(self, response: Mapping[str, Any]) -> int:
        """Return the version in the response to a change; 0 where the register refused it."""
        if "results" not in response:
            return super().version_after(response)
        (row,) = response["results"]
        return int(row["version"]) if row["outcome"] in {"created", "updated"} else 0


@dataclass
class TrainingSet(Row):
    """A set of a workout log; the repetitions are the counter: the volume of the log rises with it."""

    kind, table, column = "set", "workout_sets", "reps"

    log_id: str = ""

    def body(self, count: int) -> dict[str, Any]:
        """Return the repetitions."""
        return {"reps": count}

    def counter(self, shown: Any) -> int:
        """Return the repetitions."""
        return int(shown or 0)

    def shown_by_header(self, header: Mapping[str, Any]) -> Levels:
        """Yield what the log's header shows: one set of one kilogram, so the volume is the counter."""
        yield self.count_slot, header["volume_grams"] // 1000

    def shown_by_log(self, log: Mapping[str, Any]) -> Levels:
        """Yield what the whole log shows."""
        yield from self.shown_by_header(log)
        yield from self.shown(log["exercises"][0]["sets"][0])


class Newcomers(Row):
    """Students who are created one after the other; the counter is their number."""

    kind, table, column = "newcomers", "students", "code"

    def change(self) -> Change:
        """Return the next creation; in doubt the same again, which is harmless because of the id."""
        count = self.count + 1
        id_ = f"{self.id[:24]}{count:012x}"
        body = {"id": id_, "code": f"n{count}", "given_name": "New", "family_name": "Comer"}
        return Change("POST", self.path, body, count, conditional=False)

    def version_after(self, response: Mapping[str, Any]) -> int:
        """Return the counter: nothing else rises."""
        return count_of(response["code"])

    @property
    def truth(self) -> tuple[str, str]:
        """Return the statement that counts the created students, and the prefix of their ids."""
        return "SELECT count(*), 'n' || count(*) FROM students WHERE starts_with(id::text, %s)", self.id[:24]
