"""Charts as SVG for PDF, API and pages, with a title and a description for screen readers."""

import math
import unicodedata
from html import escape

from campshub.reports.document import Chart

WIDTH, HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 34, 26
_STEPS = 4
_LABEL_WIDTH = 58  # pixels that the label of a bar needs
_MOST_VALUES = 16  # bars that have their value written above
_FONT = 'font-family="Noto Sans, sans-serif" font-size="11"'
_INK, _GREY, _RULE, _BAR = "#1a1a1a", "#555555", "#c4c4c4", "#3d6796"


def svg(chart: Chart) -> str:
    """Draw a bar for each label."""
    highest = _round_above(max((value for _, value in chart.bars), default=0))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" {_FONT}>',
        f"<title>{_text(chart.title)}</title>",
        f"<desc>{_text(description(chart))}</desc>",
        f'<text x="{_LEFT}" y="16" font-size="13" font-weight="bold" fill="{_INK}">{_text(chart.title)}</text>',
        *_scale(highest, chart.unit),
        *_bars(chart, highest),
        "</svg>",
    ]
    return "\n".join(parts)


def description(chart: Chart) -> str:
    """Return a chart's content as text."""
    bars = "; ".join(f"{label}: {_number(value)}{chart.unit}" for label, value in chart.bars)
    return f"Bar chart. {chart.title}. {bars or 'No values'}."


def _scale(highest: float, unit: str) -> list[str]:
    """Draw the scale's lines and their values."""
    lines = []
    for step in range(_STEPS + 1):
        y = _y(highest * step / _STEPS, highest)
        lines.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" stroke="{_RULE}" stroke-width="0.7"/>'
        )
        value = _text(f"{_number(highest * step / _STEPS)}{unit}")
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="{_GREY}">{value}</text>')
    return lines


def _bars(chart: Chart, highest: float) -> list[str]:
    pitch = (WIDTH - _LEFT - _RIGHT) / max(len(chart.bars), 1)
    width = min(pitch * 0.68, 64)
    every = math.ceil(_LABEL_WIDTH / pitch)
    parts = []
    for index, (label, value) in enumerate(chart.bars):
        middle = _LEFT + (index + 0.5) * pitch
        y = _y(value, highest)
        height = _y(0, highest) - y
        parts.append(
            f'<rect x="{middle - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{_BAR}"/>'
        )
        if index % every == 0:
            parts.append(_centred(middle, HEIGHT - 9, _GREY, label))
        if len(chart.bars) <= _MOST_VALUES:
            parts.append(_centred(middle, y - 4, _INK, f"{_number(value)}{chart.unit}", halo=True))
    return parts


def _centred(x: float, y: float, colour: str, text: str, *, halo: bool = False) -> str:
    around = ' stroke="#ffffff" stroke-width="3" paint-order="stroke"' if halo else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="{colour}"{around}>{_text(text)}</text>'


def _y(value: float, highest: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / highest


def _number(value: float) -> str:
    return f"{value:,.10g}"


def _text(text: str) -> str:
    """Escape a text for XML, without the characters that XML excludes."""
    return escape("".join(one for one in text if unicodedata.category(one) not in {"Cc", "Cn", "Cs"}))


def _round_above(value: float) -> float:
    """Round up to a number whose quarters are easy to read."""
    if value <= 0:
        return 4.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * times for times in (1, 2, 4, 8, 10) if power * times >= value)
