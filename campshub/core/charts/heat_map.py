"""Heat maps: a value for each row and column, as a shade and as a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from campshub.core.charts.drawing import GREY, INK, RIGHT, RULE, WIDTH, Chart, ChartText, Part, number, shortened

_LEFT, _CELL_HEIGHT, _GAP = 96, 28, 2
_WIDEST = 64
# From few to much, in equal steps of lightness, so that the order is visible without colours.
_SHADES = ("#f2f5f9", "#d3deea", "#aec3d8", "#7f9fc0", "#54799f", "#33577d", "#1d3a5a")
_DARK_FROM = 4  # shades on which white text is readable
_KEY_WIDTH = 26


@dataclass(frozen=True)
class HeatMap(Chart):
    """Values by row and column, both by their positions; a cell without a value stays empty."""

    title: str
    columns: Sequence[str]
    rows: Sequence[str]
    cells: Mapping[tuple[int, int], float]
    highest: float
    unit: str = ""

    @property
    def description(self) -> str:
        """The values, row by row."""
        lines = []
        for row, name in enumerate(self.rows):
            values = "; ".join(
                f"{column} {number(self.cells[row, index])}{self.unit}"
                for index, column in enumerate(self.columns)
                if (row, index) in self.cells
            )
            if values:
                lines.append(f"{name}: {values}.")
        return " ".join((f"Heat map. {self.title}.", *(lines or ["No values."])))

    def draw(self, top: float) -> tuple[list[Part], float]:
        """Draw the names of columns and rows, the cells with their values, and the key of the shades."""
        pitch = min((WIDTH - _LEFT - RIGHT) / max(len(self.columns), 1), _WIDEST)
        parts: list[Part] = [
            ChartText(_LEFT + (index + 0.5) * pitch, top, name, anchor="middle", colour=GREY)
            for index, name in enumerate(self.columns)
        ]
        top += 8
        for row, name in enumerate(self.rows):
            y = top + row * _CELL_HEIGHT
            parts.append(ChartText(_LEFT - 8, y + _CELL_HEIGHT / 2 + 4, shortened(name, _LEFT - 12), anchor="end"))
            for column in range(len(self.columns)):
                parts += self._cell(_LEFT + column * pitch, y, pitch, self.cells.get((row, column)))
        below = top + len(self.rows) * _CELL_HEIGHT + 14
        return [*parts, *self._key(below)], below + 26

    def _cell(self, x: float, y: float, width: float, value: float | None) -> list[Part]:
        size = f'width="{width - _GAP:.1f}" height="{_CELL_HEIGHT - _GAP}"'
        if value is None:
            return [f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="none" stroke="{RULE}" stroke-width="0.5"/>']
        shade = self._shade(value)
        colour = "#ffffff" if shade >= _DARK_FROM else INK
        middle = x + (width - _GAP) / 2
        return [
            f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{_SHADES[shade]}" stroke="{GREY}" stroke-width="0.5"/>',
            ChartText(middle, y + _CELL_HEIGHT / 2 + 3, number(value), anchor="middle", colour=colour),
        ]

    def _shade(self, value: float) -> int:
        return min(len(_SHADES) - 1, int(value / self.highest * len(_SHADES))) if self.highest > 0 else 0

    def _key(self, y: float) -> list[Part]:
        parts: list[Part] = [ChartText(_LEFT - 8, y + 10, f"0{self.unit}", anchor="end", colour=GREY)]
        parts += [
            f'<rect x="{_LEFT + index * _KEY_WIDTH}" y="{y:.1f}" width="{_KEY_WIDTH}" height="12" fill="{shade}"'
            f' stroke="{GREY}" stroke-width="0.5"/>'
            for index, shade in enumerate(_SHADES)
        ]
        end = _LEFT + len(_SHADES) * _KEY_WIDTH
        return [*parts, ChartText(end + 8, y + 10, f"{number(self.highest)}{self.unit}", colour=GREY)]
