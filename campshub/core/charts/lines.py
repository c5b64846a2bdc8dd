"""Lines, which differ by pattern and marker as well as by shade; a missing value is a gap."""

from collections.abc import Sequence
from dataclasses import dataclass

from campshub.core.charts.drawing import (
    BOTTOM,
    GREY,
    INK,
    LEFT,
    RIGHT,
    TEXT_SIZE,
    WIDTH,
    Area,
    Chart,
    ChartText,
    Part,
    labels,
    number,
    round_above,
    scale,
    shortened,
    width_of,
)

HEIGHT = 180  # of the area between the axes
_MOST_VALUES = 16  # values of a single line that are written
_MOST_MARKERS = 40
# Of the lines in turn: shade, dashes, marker.
_STYLES = ((INK, "", "disc"), ("#3d6796", "7 4", "square"), ("#8a8a8a", "2 3", "triangle"), (GREY, "9 3 2 3", "ring"))
_KEY_WIDTH, _KEY_GAP = 34, 18


@dataclass(frozen=True)
class Series:
    """The values of one line, one for each label; None is a gap."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class LineChart(Chart):
    """Lines over common labels."""

    title: str
    names: Sequence[str]  # of the labels
    lines: Sequence[Series]
    unit: str = ""
    # The value at the upper edge; None: what the values need.
    highest: float | None = None

    @property
    def description(self) -> str:
        """The values of each line."""
        texts = []
        for line in self.lines:
            values = "; ".join(
                f"{name}: {'no value' if value is None else number(value) + self.unit}"
                for name, value in zip(self.names, line.values, strict=True)
            )
            texts.append(
                f"{line.name}: {values or 'No values'}." if len(self.lines) > 1 else f"{values or 'No values'}."
            )
        return " ".join((f"Line chart. {self.title}.", *texts))

    def draw(self, top: float) -> tuple[list[Part], float]:
        """Draw the key if there are several lines, the scale, the lines and the labels."""
        parts: list[Part] = []
        if len(self.lines) > 1:
            parts, top = self._key(top)
        known = [value for line in self.lines for value in line.values if value is not None]
        area = Area(top, top + HEIGHT, self.highest or round_above(max(known, default=0)))
        pitch = (WIDTH - LEFT - RIGHT) / max(len(self.names), 1)
        parts += scale(area, self.unit)
        for index, line in enumerate(self.lines):
            parts += self._line(line, _STYLES[index % len(_STYLES)], area, pitch)
        return [*parts, *labels(list(self.names), area, pitch)], area.bottom + BOTTOM

    def _key(self, top: float) -> tuple[list[Part], float]:
        """Draw the name of each line beside a piece of it, in as many rows as are needed."""
        x, y = float(LEFT), top + 2
        parts: list[Part] = []
        for index, line in enumerate(self.lines):
            name = shortened(line.name, WIDTH - LEFT - RIGHT - _KEY_WIDTH)
            width = _KEY_WIDTH + width_of(name, TEXT_SIZE) + _KEY_GAP
            if x > LEFT and x + width > WIDTH:
                x, y = float(LEFT), y + 16
            style = _STYLES[index % len(_STYLES)]
            parts += [_path([(x, y - 4), (x + 26, y - 4)], style), _marker(x + 13, y - 4, style)]
            parts.append(ChartText(x + _KEY_WIDTH, y, name))
            x += width
        return parts, y + 20

    def _line(self, line: Series, style: tuple[str, str, str], area: Area, pitch: float) -> list[Part]:
        points = [
            None if value is None else (LEFT + (index + 0.5) * pitch, area.y(value))
            for index, value in enumerate(line.values)
        ]
        parts: list[Part] = []
        run: list[tuple[float, float]] = []
        for point in (*points, None):
            if point is not None:
                run.append(point)
            elif run:
                parts.append(_path(run, style))
                run = []
        seen = [(point, value) for point, value in zip(points, line.values, strict=True) if point and value is not None]
        # A value between two gaps is visible only by its marker.
        if len(points) <= _MOST_MARKERS or len(seen) < len(points):
            parts += [_marker(*point, style) for point, _ in seen]
        if len(self.lines) == 1 and len(points) <= _MOST_VALUES:
            parts += [
                ChartText(x, y + _beside(points, x, y, area), f"{number(value)}{self.unit}", anchor="middle", halo=True)
                for (x, y), value in seen
            ]
        return parts


def _beside(points: Sequence[tuple[float, float] | None], x: float, y: float, area: Area) -> float:
    """Return where a value is written: below a point that is lower than its neighbours, else above it."""
    index = points.index((x, y))
    neighbours = [one[1] for one in (*points[max(index - 1, 0) : index], *points[index + 1 : index + 2]) if one]
    is_lower = bool(neighbours) and y > sum(neighbours) / len(neighbours)
    is_below = (is_lower and y < area.bottom - 20) or y < area.top + 10
    return 18 if is_below else -8


def _path(points: Sequence[tuple[float, float]], style: tuple[str, str, str]) -> str:
    colour, dashes, _ = style
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.8"{pattern}/>'


def _marker(x: float, y: float, style: tuple[str, str, str]) -> str:
    colour, _, shape = style
    if shape == "square":
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{colour}"/>'
    if shape == "triangle":
        return f'<path d="M{x - 4:.1f} {y + 3:.1f}h8l-4 -7z" fill="{colour}"/>'
    fill = "#ffffff" if shape == "ring" else colour
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{fill}" stroke="{colour}" stroke-width="1.2"/>'
