"""Monthly partitions: create them ahead of time, archive old ones, and restore them, without downtime."""

from campshub.core.partitions.locks import MonthsProblem, PartitionsBusy, TableLocked
from campshub.core.partitions.months import (
    MONTHS_AHEAD,
    Partition,
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
    "TableLocked",
    "all_present",
    "analyze",
    "ensure",
    "maintenance",
    "months_ahead",
    "name_of",
    "present",
    "tables",
]
