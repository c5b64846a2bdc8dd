"""The kinds of report, one file each: what each asks for, who may have it, and how its rows are read.

A file in this folder with a class under ``@kind`` is a new report: the API, the commands and the formats find it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, tuple_

from campshub.core.db.session import Session
from campshub.core.http.schemas import fields
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.reports.document import Chart, Column, Row
from campshub.students import names

Figures = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """What a report is asked for, its dates resolved."""

    values: Mapping[str, Any]

    def id(self, name: str) -> UUID | None:
        """Return an id that was given; None where it was left out."""
        value = self.values.get(name)
        return UUID(value) if value else None

    @property
    def group_id(self) -> UUID:
        """The group, of a kind that needs one."""
        return UUID(self.values["group_id"])

    @property
    def student_id(self) -> UUID:
        """The student, of a kind that needs one."""
        return UUID(self.values["student_id"])

    @property
    def first(self) -> date:
        """The first date."""
        return date.fromisoformat(self.values["from"])

    @property
    def last(self) -> date:
        """The last date."""
        return date.fromisoformat(self.values["to"])

    @property
    def on(self) -> date:
        """The date, of a kind that is about one."""
        return date.fromisoformat(self.values["on"])


@dataclass(frozen=True)
class Part:
    """Some rows, and what the next ones come after; None: these were the last."""

    rows: Sequence[Row]
    after: Sequence[Any] | None

    @classmethod
    def by_date(cls, rows: Sequence[Row], found: Sequence[Any], at_once: int) -> "Part":
        """Return the rows made of what was found by date and id; the last part finds less than was asked for."""
        last = found[-1] if len(found) == at_once else None
        return cls(rows, [last.local_date.isoformat(), str(last.id)] if last is not None else None)


class Kind(ABC):
    """One kind of report."""

    name: ClassVar[str]
    title: ClassVar[str]
    # What whoever asks must be allowed, when they ask and when it is made.
    permissions: ClassVar[frozenset[Permission]]
    # Parameters beside the dates, and which of them must be given.
    takes: ClassVar[Mapping[str, Any]] = {}
    needs: ClassVar[frozenset[str]] = frozenset()
    # A range of so many days at the most; 0: it is about one day.
    most_days: ClassVar[int] = 0
    landscape: ClassVar[bool] = False
    # How it looks on paper: a file in ``templates``, and the margin at either side.
    template: ClassVar[str] = "list"
    margin_mm: ClassVar[float] = 12
    # How many things are read at once; each may be several rows.
    at_once: ClassVar[int] = 2_000

    @abstractmethod
    def subject(self, session: Session, principal: Principal, given: Given) -> list[str]:
        """Return whom or what the report is about, a line each.

        :raises NotFound: the principal does not see it.
        """

    @abstractmethod
    def columns(self, given: Given) -> Sequence[Column]:
        """Return the columns."""

    @abstractmethod
    def gather(
        self, session: Session, principal: Principal, given: Given, after: Sequence[Any] | None, figures: Figures
    ) -> Part:
        """Read the next rows, as far as the principal sees them; add to the figures that the chart is made of."""

    def chart(self, figures: Figures) -> Chart | None:  # noqa: ARG002 - most kinds have none
        """Return the chart that belongs to the rows; none where the kind has none."""
        return None

    def summary(self, figures: Figures) -> Sequence[Row]:  # noqa: ARG002 - most kinds have none
        """Return rows on paper that add up the columns."""
        return ()

    def counted(self, principal: Principal, given: Given) -> Any:  # noqa: ARG002 - not always known before
        """Return the statement of which each row is a row of the report; none where only reading the rows tells."""
        return None

    def legend(self, session: Session, principal: Principal) -> str:  # noqa: ARG002 - most kinds need none
        """Return what the marks mean."""
        return ""


_kinds: dict[str, Kind] = {}


def kind(made: type[Kind]) -> type[Kind]:
    """Register a kind of report."""
    _kinds[made.name] = made()
    return made


@cache
def all_kinds() -> Mapping[str, Kind]:
    """Return the kinds by name."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return dict(sorted(_kinds.items()))


def beyond(model: Any, after: Sequence[Any] | None) -> list[ColumnElement[bool]]:
    """Return the conditions that a row by date and id comes after another; none where no other was."""
    if after is None:
        return []
    day, last = date.fromisoformat(after[0]), UUID(after[1])
    # The date by itself as well: the planner leaves the months before it alone.
    return [model.local_date >= day, tuple_(model.local_date, model.id) > (day, last)]


def group() -> Any:
    """Return the field that names a group."""
    return fields.Id()


def student() -> Any:
    """Return the field that names a student."""
    return fields.Id()


def full_name(row: Any) -> str:
    """Return a student's name as it is said."""
    return names.full_name(row.given_name, row.family_name)


def clock(principal: Principal) -> Callable[[Any], str | None]:
    """Return what tells the time of an instant on the organization's clock."""
    zone = ZoneInfo(principal.time_zone)
    return lambda at: f"{at.astimezone(zone):%H:%M}" if at is not None else None
