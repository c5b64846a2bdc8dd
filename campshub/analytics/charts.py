"""Charts of attendance figures: the same data as the endpoints return."""

from collections.abc import Mapping
from typing import Any

from campshub.core.charts import HeatMap, LineChart, Series

SVG, PNG = "image/svg+xml", "image/png"
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_BASES = {"taken": "of marks taken", "scheduled": "of scheduled marks"}


def of_rates(found: Mapping[str, Any], subject: str) -> LineChart:
    """Return the chart of rates by period."""
    items = found["items"]
    dates = f"{items[0]['first_date']} to {items[-1]['last_date']}"
    cut = 7 if found["by"] == "month" else 10
    return LineChart(
        f"Attendance rate by {found['by']} ({_BASES[found['basis']]}): {subject}, {dates}",
        [item["first_date"].isoformat()[:cut] for item in items],
        [Series(subject, [None if item["rate"] is None else round(item["rate"] * 100) for item in items])],
        "%",
        100,
    )


def of_heat_map(found: Mapping[str, Any], subject: str) -> HeatMap:
    """Return the heat map, from the first hour with a session to the last."""
    cells = {
        (cell["weekday"] - 1, cell["hour"]): round(cell["rate"] * 100)
        for cell in found["cells"]
        if cell["rate"] is not None
    }
    hours = range(min(hour for _, hour in cells), max(hour for _, hour in cells) + 1) if cells else range(0)
    return HeatMap(
        f"Attendance rate by weekday and hour: {subject}, {found['first_date']} to {found['last_date']}",
        [f"{hour:02}:00" for hour in hours],
        _WEEKDAYS,
        {(weekday, hour - hours.start): value for (weekday, hour), value in cells.items()},
        100,
        "%",
    )
