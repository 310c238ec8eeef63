"""Figure of what tokens mean, in terms of features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spinlock.analysis.figures.style import (
    PALETTE,
    label,
    names_that_fit,
    new_figure,
    number,
    styled,
)

BEST_SHOWN = "best shown by "
PANEL_LETTERS = 125  # that names of features, title and operators may take side by side


@dataclass(frozen=True)
class TokenPanel:
    """A token in words: what to write about it.

    Attributes
    ----------
    title : str
        Category, level, code and how many operators have it.
    features : sequence of str [k]
    deviation : array [k]
        In standard deviations over all operators.
    values, usual : arrays [k]
        Mean of the operators with this token and of all operators, in original units.
    operators : sequence of int
        Ids of the operators that show it best.
    """

    title: str
    features: Sequence[str]
    deviation: np.ndarray
    values: np.ndarray
    usual: np.ndarray
    operators: Sequence[int]


@styled
def token_figure(panels: Sequence[TokenPanel]) -> Figure:
    """Draw what sets the operators of a token apart, one panel per token.

    Parameters
    ----------
    panels : sequence of TokenPanel
    """
    figure = new_figure(0.3 + 1.05 * len(panels))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False).ravel()
    reach = 1.15 * max(np.abs(panel.deviation).max() for panel in panels)
    for axes, panel in zip(grid, panels, strict=True):
        _draw(axes, panel, reach)
    grid[-1].set_xlabel("deviation of the token's operators from all, in standard deviations")
    return figure


def _draw(axes: Axes, panel: TokenPanel, reach: float) -> None:
    at = np.arange(len(panel.deviation))
    colors = np.where(panel.deviation < 0, PALETTE[1], PALETTE[0])
    axes.barh(at, panel.deviation, height=0.6, color=colors)
    for i, (value, usual) in enumerate(zip(panel.values, panel.usual, strict=True)):
        side = "left" if panel.deviation[i] < 0 else "right"
        text = f" {number(value)} (usual {number(usual)}) "
        # beside the axis, opposite to the bar, where nothing is drawn
        axes.text(0, i, text, ha=side, va="center", fontsize=6, color="#444444")
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(at, [label(name, 48) for name in panel.features], fontsize=6)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(len(at) - 0.4, -0.6)
    title = label(panel.title, 60)
    axes.set_title(title, fontsize=7.5)
    taken = len(title) + max(len(label(name, 48)) for name in panel.features) + len(BEST_SHOWN)
    shown = names_that_fit([str(row) for row in panel.operators], PANEL_LETTERS - taken)
    best = BEST_SHOWN + ", ".join(shown)
    axes.set_title(best, loc="right", fontsize=6.5, fontweight="normal")
