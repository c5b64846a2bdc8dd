"""Charts: one drawing for all formats, readable without colours, with a text description."""

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from campshub.core.charts import BarChart, HeatMap, LineChart, Series, as_layers, as_svg
from campshub.core.charts.drawing import TEXT_SIZE, shortened, width_of
from campshub.core.typesetting.process import png_of

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("Mira Das", "सोमवार की सुबह", "محمد الفارسي", "王小明", "กลุ่มเช้า", "שלום")


def parsed(chart):
    return ET.fromstring(as_svg(chart))  # noqa: S314 - our own output


def drawn(bars, title="By month", unit="%"):
    chart = BarChart(title, bars, unit)
    return parsed(chart), chart.description


def size(png):
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def test_a_chart_has_a_bar_and_a_description_for_each_value():
    root, description = drawn([("2026-09", 80.0), ("2026-10", 40.0)])

    one, two = (float(bar.get("height")) for bar in root.iter(f"{SVG}rect"))
    assert one == pytest.approx(2 * two, abs=0.2)
    assert root.find(f"{SVG}title").text == "By month"
    assert root.find(f"{SVG}desc").text == description == "Bar chart. By month. 2026-09: 80%; 2026-10: 40%."


def test_labels_of_many_bars_do_not_overlap():
    root, description = drawn([(f"{n:02}-01", n) for n in range(52)], unit="")
    height = float(root.get("height"))
    below = [text for text in root.iter(f"{SVG}text") if float(text.get("y")) > height - 12]
    positions = sorted(float(text.get("x")) for text in below)

    assert len(list(root.iter(f"{SVG}rect"))) == 52
    assert len(positions) > 5
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


def some_charts(title="By month"):
    return (
        BarChart(title, [("2026-09", 80.0)]),
        LineChart(title, ["2026-09", "2026-10"], [Series("Blue", [80.0, None])], "%", 100),
        HeatMap(title, ["09"], ["Mon"], {(0, 0): 80.0}, 100, "%"),
    )


def test_screen_readers_find_the_title_and_the_description():
    names = set()
    for chart in (*some_charts(), *some_charts("Another")):
        root = parsed(chart)
        title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert (title.text, description.text) == (chart.title, chart.description)
        names |= {title.get("id"), description.get("id")}
    assert len(names) == 12  # several charts may be in one page


def test_a_missing_value_is_a_gap_in_the_line_and_is_described():
    chart = LineChart("Rate", list("abcd"), [Series("All", [10.0, None, 30.0, 40.0])], "%", 100)
    root = parsed(chart)

    lines = [line.get("points").split() for line in root.iter(f"{SVG}polyline")]
    assert [len(points) for points in lines] == [1, 2]
    assert len(list(root.iter(f"{SVG}circle"))) == 3
    assert chart.description == "Line chart. Rate. a: 10%; b: no value; c: 30%; d: 40%."


def test_lines_differ_by_pattern_and_marker_not_only_by_colour():
    root = parsed(LineChart("Rate", ["a", "b"], [Series(name, [1.0, 2.0]) for name in NAMES[:4]]))

    patterns = [line.get("stroke-dasharray") for line in root.iter(f"{SVG}polyline") if len(line.get("points")) > 0]
    assert len(set(patterns)) == 4
    assert all(list(root.iter(f"{SVG}{shape}")) for shape in ("rect", "circle", "path"))


def test_a_heat_map_writes_each_value_and_orders_shades_by_lightness():
    cells = {(0, column): 10.0 * column for column in range(11)}
    chart = HeatMap("Rate", [f"{hour:02}" for hour in range(11)], ["Mon", "Tue"], cells, 100, "%")
    root = parsed(chart)

    shades = [cell.get("fill") for cell in root.iter(f"{SVG}rect")][:11]
    lightness = [sum(int(shade[n : n + 2], 16) for n in (1, 3, 5)) for shade in shades]
    assert lightness == sorted(lightness, reverse=True)
    assert {f"{10 * n}" for n in range(11)} <= {text.text for text in root.iter(f"{SVG}text")}
    assert [cell.get("fill") for cell in root.iter(f"{SVG}rect")][11:22] == ["none"] * 11
    assert "Mon: 00 0%; 01 10%;" in chart.description
    assert "Tue" not in chart.description


def test_long_names_are_shortened_in_the_drawing_only():
    name = "Αθλητισμός " * 20
    chart = HeatMap(name, ["09"], [name], {(0, 0): 1.0}, 1)
    root = parsed(chart)

    assert any(text.text.endswith("…") for text in root.iter(f"{SVG}text"))
    assert name in chart.description
    assert len({text.get("y") for text in root.iter(f"{SVG}text") if text.get("font-weight")}) > 1
    assert width_of(shortened("कार्यक्रम" * 9, 90), TEXT_SIZE) <= 90


def test_a_picture_has_the_shape_of_the_svg():
    layers = as_layers(LineChart(", ".join(NAMES), ["a", "b"], [Series(name, [1.0, 2.0]) for name in NAMES[:4]]))
    png = png_of(layers, fonts="", locale="en")

    svg = layers["svg"]
    assert "<text" not in svg
    assert {*NAMES[:4], "a", "b"} < {text["content"] for text in layers["texts"]}
    width, height = size(png)
    assert png.startswith(b"\x89PNG")
    assert (width, height) == pytest.approx((1440, 2 * float(ET.fromstring(svg).get("height"))), abs=3)  # noqa: S314 - as above
