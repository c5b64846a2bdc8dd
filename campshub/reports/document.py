"""What a report says, whatever its format: its head, its columns, and the chart that goes with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

# A row: plain values in the order of the columns, as JSON keeps them (dates as YYYY-MM-DD, times as HH:MM).
Row = Sequence[Any]


class Is(StrEnum):
    """What a column holds."""

    TEXT = "text"
    NUMBER = "number"
    PERCENT = "percent"
    DATE = "date"
    TIME = "time"


@dataclass(frozen=True)
class Column:
    """One column: its title, what it holds, and its share of the page in millimetres."""

    title: str
    holds: Is = Is.TEXT
    mm: float = 20
    centred: bool = False


@dataclass(frozen=True)
class Chart:
    """Bars, one for each label."""

    title: str
    bars: Sequence[tuple[str, float]]
    unit: str = ""


@dataclass(frozen=True)
class Document:
    """A report's head and columns."""

    title: str
    organization: str
    columns: Sequence[Column]
    generated_at: datetime  # in the organization's own time zone
    # Whom or what it is about, the dates, who asked: a line each.
    subject: Sequence[str] = field(default_factory=tuple)
    chart: Chart | None = None
    landscape: bool = False
    locale: str = "en"
    # What the marks mean, at the end.
    legend: str = ""
    # Rows on paper that add up the columns, after the others.
    summary: Sequence[Row] = field(default_factory=tuple)
    # How it looks on paper: a file in ``templates``, and the margin at either side.
    template: str = "list"
    margin_mm: float = 12

    @property
    def generated(self) -> str:
        """When it was made, as people of the place read it."""
        return f"{self.generated_at:%Y-%m-%d %H:%M} ({self.generated_at.tzname()})"
