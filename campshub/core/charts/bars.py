"""Bars, one for each label."""

from collections.abc import Sequence
from dataclasses import dataclass

from campshub.core.charts.drawing import (
    BOTTOM,
    FILL,
    LEFT,
    RIGHT,
    WIDTH,
    Area,
    Chart,
    ChartText,
    Part,
    labels,
    number,
    round_above,
    scale,
)

HEIGHT = 160  # of the area between the axes
_MOST_VALUES = 16  # bars that have their value written above
_WIDEST = 64


@dataclass(frozen=True)
class BarChart(Chart):
    """Bars, one for each label."""

    title: str
    bars: Sequence[tuple[str, float]]
    unit: str = ""

    @property
    def description(self) -> str:
        """The values of the bars."""
        bars = "; ".join(f"{label}: {number(value)}{self.unit}" for label, value in self.bars)
        return f"Bar chart. {self.title}. {bars or 'No values'}."

    def draw(self, top: float) -> tuple[list[Part], float]:
        """Draw the scale, the bars with their values, and the labels."""
        highest = round_above(max((value for _, value in self.bars), default=0))
        area = Area(top, top + HEIGHT, highest)
        pitch = (WIDTH - LEFT - RIGHT) / max(len(self.bars), 1)
        width = min(pitch * 0.68, _WIDEST)
        parts = scale(area, self.unit)
        for index, (_, value) in enumerate(self.bars):
            middle, y = LEFT + (index + 0.5) * pitch, area.y(value)
            parts.append(
                f'<rect x="{middle - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{area.bottom - y:.1f}"'
                f' fill="{FILL}"/>'
            )
            if len(self.bars) <= _MOST_VALUES:
                parts.append(ChartText(middle, y - 4, f"{number(value)}{self.unit}", anchor="middle", halo=True))
        return [*parts, *labels([label for label, _ in self.bars], area, pitch)], area.bottom + BOTTOM
