"""Charts as SVG, for reports, the API and pages: bars, lines and heat maps, drawn in one place.

A chart is readable in black-and-white print: lines have patterns and markers, cells of a heat map have their values.
``description`` returns its content as text, for screen readers and for who cannot see it.
"""

from campshub.core.charts.bars import BarChart
from campshub.core.charts.drawing import Chart, as_layers, as_svg
from campshub.core.charts.heat_map import HeatMap
from campshub.core.charts.lines import LineChart, Series

__all__ = ["BarChart", "Chart", "HeatMap", "LineChart", "Series", "as_layers", "as_svg"]
