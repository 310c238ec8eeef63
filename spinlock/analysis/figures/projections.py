"""Figures of maps: codes and operators on the plane."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spinlock.analysis.figures.style import (
    color_of,
    columns_that_fit,
    label,
    legend_marks,
    marker_of,
    new_figure,
    short_names,
    styled,
)

MOST_KINDS = 7  # kinds of a label that get a colour of their own; the rest are "other"
OTHER = "#BFBFBF"
CODE_AREA = (22.0, 10.0, 4.0)  # of coarse, medium, fine codes, in points²


@styled
def code_map_figure(
    maps: Mapping[str, np.ndarray], category: np.ndarray, level: np.ndarray, names: Sequence[str]
) -> Figure:
    """Draw maps of all codes, coloured by category; coarse codes are larger.

    Parameters
    ----------
    maps : mapping
        Name of the method → positions [codes, 2].
    category, level : int arrays [codes]
    names : sequence of str [C]
    """
    figure = new_figure(3.9)
    area = np.array(CODE_AREA)[np.minimum(level, len(CODE_AREA) - 1)]
    for axes, (method, at) in _panels(figure, maps):
        for c in np.unique(category):
            mine = category == c
            axes.scatter(
                *at[mine].T, s=area[mine], color=color_of(c), marker=marker_of(c),
                linewidths=0, alpha=0.7, rasterized=True,
            )  # fmt: skip
        axes.set_title(method)
    figure.legend(
        handles=legend_marks(short_names(names)), loc="outside lower center", title="category",
        ncols=columns_that_fit(short_names(names)), columnspacing=1.2, handletextpad=0.2,
    )  # fmt: skip
    return figure


@styled
def label_map_figure(maps: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> Figure:
    """Draw maps of operators, one row of panels per label, coloured by it.

    Parameters
    ----------
    maps : mapping
        Name of the method → positions [n, 2].
    labels : mapping
        Name of the label → its value [n] for each operator.
    """
    figure = new_figure(2.75 * len(labels))
    ratios = [1.0] * len(maps) + [0.5]
    grid = figure.subplots(len(labels), len(maps) + 1, squeeze=False, width_ratios=ratios)
    for row, (name, values) in zip(grid, labels.items(), strict=True):
        kinds, index = frequent_kinds(values)
        for axes, (method, at) in _framed(row[:-1], maps):
            for k in [*range(len(kinds)), -1][::-1]:
                mine = index == k
                axes.scatter(
                    *at[mine].T, s=7, linewidths=0, alpha=0.75, rasterized=True,
                    color=OTHER if k < 0 else color_of(k), marker="o" if k < 0 else marker_of(k),
                )  # fmt: skip
            axes.set_title(method)
        handles = legend_marks(kinds)
        rest = np.unique(values[index < 0])
        if len(rest):
            name_of_rest = label(rest[0]) if len(rest) == 1 else "other"
            handles.append(
                Line2D([], [], linestyle="", marker="o", color=OTHER, label=name_of_rest)
            )
        row[-1].set_axis_off()
        row[-1].legend(
            handles=handles, loc="center left", title=label(name, 24),
            alignment="left", handletextpad=0.2, borderaxespad=0,
        )  # fmt: skip
    return figure


@styled
def value_map_figure(maps: Mapping[str, np.ndarray], values: np.ndarray, name: str) -> Figure:
    """Draw maps of operators, coloured by a feature.

    Parameters
    ----------
    maps : mapping
        Name of the method → positions [n, 2].
    values : array [n]
        In original units; the colours span the middle 96 %.
    name : str
    """
    figure = new_figure(3.2)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [2, 98]) if len(finite) else (0.0, 1.0)
    panels = _panels(figure, maps)
    for axes, (method, at) in panels:
        points = axes.scatter(
            *at.T, s=7, c=values, vmin=low, vmax=high, linewidths=0, alpha=0.85, rasterized=True
        )
        axes.set_title(method)
    figure.colorbar(
        points, ax=[axes for axes, _ in panels], label=label(name, 44), extend="both",
        shrink=0.8, pad=0.01,
    )  # fmt: skip
    return figure


def frequent_kinds(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the most frequent kinds, in order of name, and each value's kind (−1: another)."""
    kinds, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    frequent = np.sort(np.argsort(-counts, kind="stable")[:MOST_KINDS])
    position = np.full(len(kinds), -1)
    position[frequent] = np.arange(len(frequent))
    return [str(kinds[k]) for k in frequent], position[index]


def _panels(
    figure: Figure, maps: Mapping[str, np.ndarray]
) -> list[tuple[Axes, tuple[str, np.ndarray]]]:
    return _framed(np.atleast_1d(figure.subplots(1, len(maps))), maps)


def _framed(
    panels: np.ndarray, maps: Mapping[str, np.ndarray]
) -> list[tuple[Axes, tuple[str, np.ndarray]]]:
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(True)
        axes.spines[:].set_color("#CCCCCC")
    return list(zip(panels, maps.items(), strict=True))
