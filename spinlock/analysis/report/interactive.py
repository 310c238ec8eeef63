"""The interactive maps of the report, as BokehJS documents that the page's script fills."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, HoverTool, TapTool
from bokeh.plotting import figure
from bokeh.resources import Resources

HEIGHT = 460  # pixels
OPERATOR_COLUMNS = ("operator", "split", "labels", "tokens", "unusual")
CODE_COLUMNS = ("token", "count", "change")
MARKS = ("x", "y", "color", "marker", "alpha", "size")
MODEL_ID = re.compile(r"p\d+")

TOOLTIP = """<div style="max-width:20em;font:12px/1.4 system-ui,sans-serif">{rows}</div>"""
TOOLTIP_ROW = """<div><b>{column}</b> @{column}</div>"""


def map_document(name: str, columns: Sequence[str]) -> dict[str, Any]:
    """Return the document of an empty map; the page's script finds its source by `name`.

    Parameters
    ----------
    name : str
        Of the data source, and of the page's element that holds the map.
    columns : sequence of str
        What the tooltip of a point shows.
    """
    source = ColumnDataSource({column: [] for column in (*MARKS, *columns)}, name=name)
    plot = figure(
        height=HEIGHT,
        sizing_mode="stretch_width",
        tools="pan,wheel_zoom,box_zoom,reset,save",
        active_drag="pan",
        toolbar_location="above",
        output_backend="canvas",
    )
    points = plot.scatter(
        "x", "y", source=source, size="size", marker="marker", fill_color="color",
        fill_alpha="alpha", line_color=None, nonselection_fill_alpha="alpha",
        selection_line_color="black", selection_line_width=2,
    )  # fmt: skip
    rows = "".join(TOOLTIP_ROW.format(column=column) for column in columns)
    hover = HoverTool(tooltips=TOOLTIP.format(rows=rows), renderers=[points], limit=1)
    plot.add_tools(hover, TapTool(renderers=[points]))
    plot.toolbar.logo = None
    plot.grid.visible = False
    plot.axis.visible = False
    plot.outline_line_color = "#CCCCCC"
    return _with_stable_ids(json_item(plot, name), name)


def library() -> str:
    """Return BokehJS, to be embedded in the page once."""
    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw[:1])


def _with_stable_ids(document: Any, name: str) -> Any:
    """Return the document with its models numbered from 1: Bokeh counts on across documents."""
    numbers: dict[str, str] = {}
    count = itertools.count(1)

    def visit(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                key: renamed(value) if key in ("id", "root_id") else visit(value)
                for key, value in node.items()
            }
        return [visit(one) for one in node] if isinstance(node, list) else node

    def renamed(value: Any) -> Any:
        if not isinstance(value, str) or not MODEL_ID.fullmatch(value):
            return visit(value)
        if value not in numbers:
            numbers[value] = f"{name}-{next(count)}"
        return numbers[value]

    return visit(document)
