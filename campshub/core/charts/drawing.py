"""What all charts share: the frame with title and description, the scale, and texts."""

import hashlib
import math
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

WIDTH = 720
LEFT, RIGHT, BOTTOM = 56, 8, 26
TITLE_SIZE, TEXT_SIZE = 13, 11
INK, GREY, RULE, FILL = "#1a1a1a", "#555555", "#c4c4c4", "#3d6796"
LABEL_WIDTH = 66  # pixels that a label below the chart needs
_LINE_HEIGHT = 17
_STEPS = 4
# Browsers and Typst take the first family that has a letter; the generic one finds all others of the system.
_FONT = f'font-family="Noto Sans, sans-serif" font-size="{TEXT_SIZE}"'
_WIDE, _NARROW = 1.05, 0.6  # of a letter, in relation to the size of the text
_HIDDEN = frozenset({"Cc", "Cn", "Co", "Cs"})


@dataclass(frozen=True)
class Area:
    """The rectangle between the axes, and the value at its upper edge."""

    top: float
    bottom: float
    highest: float

    def y(self, value: float) -> float:
        """Return the height at which a value is drawn."""
        return self.bottom - (self.bottom - self.top) * value / self.highest


@dataclass(frozen=True)
class ChartText:
    """A text: the position of its base line, and which of its edges or its middle is there."""

    x: float
    y: float
    content: str
    anchor: str = "start"
    colour: str = INK
    size: int = TEXT_SIZE
    is_bold: bool = False
    # White around the letters, so that they are readable on top of lines.
    halo: bool = False

    def svg(self) -> str:
        """Return the text as an element of SVG."""
        more = f' font-size="{self.size}"' if self.size != TEXT_SIZE else ""
        more += ' font-weight="bold"' if self.is_bold else ""
        more += ' stroke="#ffffff" stroke-width="3" paint-order="stroke"' if self.halo else ""
        start = f'<text x="{self.x:.1f}" y="{self.y:.1f}" text-anchor="{self.anchor}" fill="{self.colour}"{more}>'
        return f"{start}{plain(self.content)}</text>"


# An element of a drawing: a shape in SVG, or a text.
Part = str | ChartText


class Chart(ABC):
    """A chart: what it shows, and how it is drawn below its title."""

    title: str

    @property
    @abstractmethod
    def description(self) -> str:
        """The chart's content as text."""

    @abstractmethod
    def draw(self, top: float) -> tuple[list[Part], float]:
        """Return the elements of the chart below ``top``, and the height at which it ends."""


def as_svg(chart: Chart) -> str:
    """Return a chart as an SVG document."""
    parts, height = _drawn(chart)
    # A page may contain several charts, whose titles need different ids.
    name = hashlib.sha256(f"{chart.title}\0{chart.description}".encode()).hexdigest()[:12]
    reading = (
        f'<title id="title-{name}">{plain(chart.title)}</title>',
        f'<desc id="desc-{name}">{plain(chart.description)}</desc>',
    )
    elements = (part.svg() if isinstance(part, ChartText) else part for part in parts)
    return _document(height, f' role="img" aria-labelledby="title-{name} desc-{name}"', (*reading, *elements))


def as_layers(chart: Chart) -> dict[str, Any]:
    """Return a chart as an SVG of its shapes, and its texts separately, for programs that set text themselves.

    Typst places letters of some scripts (Devanagari) wrongly inside an SVG, and correctly in its own text.
    """
    parts, height = _drawn(chart)
    shapes = _document(height, "", [part for part in parts if isinstance(part, str)])
    return {"svg": shapes, "texts": [asdict(part) for part in parts if isinstance(part, ChartText)]}


def _drawn(chart: Chart) -> tuple[list[Part], float]:
    """Return all elements of a chart, with its title, and its height."""
    lines = wrapped(chart.title, WIDTH - LEFT - RIGHT, TITLE_SIZE)
    title = [
        ChartText(LEFT, 16 + number * _LINE_HEIGHT, line, size=TITLE_SIZE, is_bold=True)
        for number, line in enumerate(lines)
    ]
    parts, height = chart.draw(16 + (len(lines) - 1) * _LINE_HEIGHT + 18)
    return [*title, *parts], height


def _document(height: float, attributes: str, elements: Iterable[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}{attributes} {_FONT}>'
    return "\n".join((head, *elements, "</svg>"))


def scale(area: Area, unit: str) -> list[Part]:
    """Return the horizontal lines of the scale, with their values."""
    parts: list[Part] = []
    for step in range(_STEPS + 1):
        value = area.highest * step / _STEPS
        y = area.y(value)
        parts.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{RULE}" stroke-width="0.7"/>'
        )
        parts.append(ChartText(LEFT - 6, y + 4, f"{number(value)}{unit}", anchor="end", colour=GREY))
    return parts


def labels(names: list[str], area: Area, pitch: float) -> list[Part]:
    """Return the labels below the chart, as many as have space beside each other."""
    every = max(1, math.ceil(LABEL_WIDTH / pitch))
    return [
        ChartText(LEFT + (index + 0.5) * pitch, area.bottom + 17, name, anchor="middle", colour=GREY)
        for index, name in enumerate(names)
        if index % every == 0
    ]


def number(value: float) -> str:
    """Return a number with as many digits as it needs."""
    return f"{value:,.10g}"


def plain(content: str) -> str:
    """Escape a text for XML, without the characters that XML excludes."""
    return escape("".join(one for one in content if unicodedata.category(one) not in _HIDDEN))


def width_of(content: str, size: int) -> float:
    """Estimate the width of a text in pixels; combining marks take no space."""
    letters = (one for one in content if unicodedata.category(one) not in {"Mn", "Me", "Cf"})
    return size * sum(_WIDE if unicodedata.east_asian_width(one) in {"W", "F"} else _NARROW for one in letters)


def shortened(content: str, room: float, size: int = TEXT_SIZE) -> str:
    """Return as much of a text as fits, with an ellipsis if something is missing; the description has all of it."""
    if width_of(content, size) <= room:
        return content
    while content and width_of(f"{content}…", size) > room:
        content = content[:-1]
    while content and unicodedata.category(content[-1]) in {"Mn", "Mc", "Me", "Cf", "Zs"}:
        content = content[:-1]
    return f"{content}…"


def wrapped(content: str, room: float, size: int) -> list[str]:
    """Return the lines of a text; a word that is wider than a line is shortened."""
    lines: list[str] = []
    for word in content.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(shortened(word, room, size))
    return lines or [""]


def round_above(value: float) -> float:
    """Round up to a number whose quarters are easy to read."""
    if value <= 0:
        return 4.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * times for times in (1, 2, 4, 8, 10) if power * times >= value)
