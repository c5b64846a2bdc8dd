"""Monthly partitions: made ahead, archived when they are old, and brought back, while everybody goes on working."""

from campshub.core.db.partitions.months import (
    MONTHS_AHEAD,
    Partition,
    ahead,
    all_present,
    analyze,
    ensure,
    maintenance,
    months_ahead,
    name_of,
    present,
    tables,
)
from campshub.core.db.partitions.patience import Busy, MonthsProblem, StaysLocked

__all__ = [
    "MONTHS_AHEAD",
    "Busy",
    "MonthsProblem",
    "Partition",
    "StaysLocked",
    "ahead",
    "all_present",
    "analyze",
    "ensure",
    "maintenance",
    "months_ahead",
    "name_of",
    "present",
    "tables",
]
