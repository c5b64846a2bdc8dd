"""The kinds of report, one file each: parameters, permissions, and how the rows are read.

A class decorated with ``@kind`` in a file of this folder is a new kind: the API, the commands and the formats find it.
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

from campshub.core.charts import BarChart
from campshub.core.db.session import Session
from campshub.core.http.schemas import fields
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.reports.document import Column, Row
from campshub.students import names

Sums = dict[str, Any]


@dataclass(frozen=True)
class ReportArguments:
    """The parameters of a report, with dates resolved."""

    values: Mapping[str, Any]

    def id(self, name: str) -> UUID | None:
        """Return an id parameter; None if it is absent."""
        value = self.values.get(name)
        return UUID(value) if value else None

    @property
    def group_id(self) -> UUID:
        """The group id, for kinds that require a group."""
        return UUID(self.values["group_id"])

    @property
    def student_id(self) -> UUID:
        """The student id, for kinds that require a student."""
        return UUID(self.values["student_id"])

    @property
    def first_date(self) -> date:
        """The first date."""
        return date.fromisoformat(self.values["from"])

    @property
    def last_date(self) -> date:
        """The last date."""
        return date.fromisoformat(self.values["to"])

    @property
    def days(self) -> int:
        """The number of days of the range."""
        return (self.last_date - self.first_date).days + 1

    @property
    def on(self) -> date:
        """The date, for kinds about a single day."""
        return date.fromisoformat(self.values["on"])


@dataclass(frozen=True)
class Part:
    """Some rows, and the keyset after which the next ones start; None after the last part."""

    rows: Sequence[Row]
    after: Sequence[Any] | None

    @classmethod
    def by_date(cls, rows: Sequence[Row], found: Sequence[Any], at_once: int) -> "Part":
        """Return a part for rows ordered by date and id; fewer found than ``at_once`` means it is the last part."""
        last = found[-1] if len(found) == at_once else None
        return cls(rows, [last.local_date.isoformat(), str(last.id)] if last is not None else None)


class ReportKind(ABC):
    """One kind of report."""

    name: ClassVar[str]
    title: ClassVar[str]
    # Permissions that the requester needs, both at the request and when the report is made.
    permissions: ClassVar[frozenset[Permission]]
    # Parameters other than dates, and which of them are required.
    takes: ClassVar[Mapping[str, Any]] = {}
    needs: ClassVar[frozenset[str]] = frozenset()
    # The maximum length of the date range in days; 0: the report is about one day.
    most_days: ClassVar[int] = 0
    landscape: ClassVar[bool] = False
    # Layout of the PDF: a file in ``templates``, and the margin on each side.
    template: ClassVar[str] = "list"
    margin_mm: ClassVar[float] = 12
    # How many entities are read at once; each may be several rows.
    at_once: ClassVar[int] = 2_000

    @abstractmethod
    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the lines that describe the report's subject.

        :raises NotFound: the principal does not see it.
        """

    @abstractmethod
    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns."""

    @abstractmethod
    def gather(
        self,
        session: Session,
        principal: Principal,
        arguments: ReportArguments,
        after: Sequence[Any] | None,
        sums: Sums,
    ) -> Part:
        """Read the next rows that the principal sees; update the sums for the chart."""

    def chart(self, sums: Sums) -> BarChart | None:  # noqa: ARG002 - most kinds have none
        """Return the chart of the rows; None if the kind has no chart."""
        return None

    def summary(self, sums: Sums) -> Sequence[Row]:  # noqa: ARG002 - most kinds have none
        """Return the total rows that a PDF prints at the end."""
        return ()

    def counted(self, principal: Principal, arguments: ReportArguments) -> Any:  # noqa: ARG002 - not always known before
        """Return a query with one row per report row; None if only reading the data shows how many there are."""
        return None

    def legend(self, session: Session, principal: Principal) -> str:  # noqa: ARG002 - most kinds need none
        """Return the meaning of the marks."""
        return ""


_kinds: dict[str, ReportKind] = {}


def kind(made: type[ReportKind]) -> type[ReportKind]:
    """Register a kind of report."""
    _kinds[made.name] = made()
    return made


@cache
def all_kinds() -> Mapping[str, ReportKind]:
    """Return the kinds by name."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return dict(sorted(_kinds.items()))


def beyond(model: Any, after: Sequence[Any] | None) -> list[ColumnElement[bool]]:
    """Return the keyset conditions for rows ordered by date and id; none at the start."""
    if after is None:
        return []
    day, last = date.fromisoformat(after[0]), UUID(after[1])
    # The separate condition on the date lets the planner skip the months before it.
    return [model.local_date >= day, tuple_(model.local_date, model.id) > (day, last)]


def group() -> Any:
    """Return the schema field of a group id."""
    return fields.Id()


def student() -> Any:
    """Return the schema field of a student id."""
    return fields.Id()


def full_name(row: Any) -> str:
    """Return a student's full name."""
    return names.full_name(row.given_name, row.family_name)


def clock(principal: Principal) -> Callable[[Any], str | None]:
    """Return a function that formats an instant as HH:MM in the organization's time zone."""
    zone = ZoneInfo(principal.time_zone)
    return lambda at: f"{at.astimezone(zone):%H:%M}" if at is not None else None
