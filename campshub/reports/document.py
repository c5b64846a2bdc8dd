"""A report's content, independent of the format: its head, columns and chart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from campshub.core.charts import BarChart

# A row: JSON values in the order of the columns (dates as YYYY-MM-DD, times as HH:MM).
Row = Sequence[Any]


class Is(StrEnum):
    """The type of a column's values."""

    TEXT = "text"
    NUMBER = "number"
    PERCENT = "percent"
    DATE = "date"
    TIME = "time"


@dataclass(frozen=True)
class Column:
    """One column: title, type of values, and width in millimetres relative to the other columns."""

    title: str
    holds: Is = Is.TEXT
    mm: float = 20
    centred: bool = False


@dataclass(frozen=True)
class Document:
    """A report's head and columns."""

    title: str
    organization: str
    columns: Sequence[Column]
    generated_at: datetime  # in the organization's own time zone
    # The person or group, and the dates: one line each.
    subject: Sequence[str] = field(default_factory=tuple)
    chart: BarChart | None = None
    landscape: bool = False
    locale: str = "en"
    # The meaning of the marks, printed at the end.
    legend: str = ""
    # Total rows, printed after the others in a PDF.
    summary: Sequence[Row] = field(default_factory=tuple)
    # Layout of the PDF: a file in ``templates``, and the margin on each side.
    template: str = "list"
    margin_mm: float = 12

    @property
    def generated(self) -> str:
        """When it was made, in the organization's time zone."""
        return f"{self.generated_at:%Y-%m-%d %H:%M} ({self.generated_at.tzname()})"
