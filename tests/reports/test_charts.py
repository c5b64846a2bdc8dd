"""Charts: one drawing for all formats, with a text description."""

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from campshub.reports import charts
from campshub.reports.document import Chart

SVG = "{http://www.w3.org/2000/svg}"


def drawn(bars, title="By month", unit="%"):
    chart = Chart(title, bars, unit)
    return ET.fromstring(charts.svg(chart)), charts.description(chart)  # noqa: S314 - our own output


def test_a_chart_has_a_bar_and_a_description_for_each_value():
    root, description = drawn([("2026-09", 80.0), ("2026-10", 40.0)])

    one, two = (float(bar.get("height")) for bar in root.iter(f"{SVG}rect"))
    assert one == pytest.approx(2 * two, abs=0.2)
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "By month"
    assert root.find(f"{SVG}desc").text == description == "Bar chart. By month. 2026-09: 80%; 2026-10: 40%."


def test_labels_of_many_bars_do_not_overlap():
    root, description = drawn([(f"{n:02}-01", n) for n in range(52)], unit="")
    below = [text for text in root.iter(f"{SVG}text") if float(text.get("y")) > charts.HEIGHT - 12]
    positions = sorted(float(text.get("x")) for text in below)

    assert len(list(root.iter(f"{SVG}rect"))) == 52
    assert min(b - a for a, b in pairwise(positions)) >= 50
    assert description.count(";") == 51


def test_texts_are_escaped():
    root, description = drawn([("<b>&\x00", 1.0)], title='"<script>"')

    assert root.find(f"{SVG}title").text == '"<script>"'
    assert "<b>&" in {text.text for text in root.iter(f"{SVG}text")}
    assert "<b>&" in description
    assert list(root.iter(f"{SVG}script")) == []


@pytest.mark.parametrize("bars", [[], [("2026-09", 0.0)]])
def test_a_chart_without_values_is_drawn(bars):
    root, description = drawn(bars)

    assert all(float(bar.get("height")) == 0 for bar in root.iter(f"{SVG}rect"))
    assert description.startswith("Bar chart. By month.")
