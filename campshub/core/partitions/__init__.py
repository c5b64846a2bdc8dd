"""Monthly partitions: made ahead, archived when they are old, and brought back, while everybody goes on working."""

from campshub.core.partitions.locks import MonthsProblem, PartitionsBusy, StaysLocked
from campshub.core.partitions.months import (
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

__all__ = [
    "MONTHS_AHEAD",
    "MonthsProblem",
    "Partition",
    "PartitionsBusy",
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
