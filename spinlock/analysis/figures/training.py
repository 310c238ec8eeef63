"""Figure of the training: every loss term, epoch by epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from spinlock.analysis.figures.style import GREY, PALETTE, new_figure, styled

TRAIN, VALIDATION = PALETTE[0], PALETTE[1]
TERM_NAMES = {"vq_loss": "quantisation"}

Entry = Mapping[str, Any]


@styled
def training_figure(history: Sequence[Entry], levels: Sequence[str]) -> Figure:
    """Draw what the training recorded, one panel each, with the epoch that was kept.

    Parameters
    ----------
    history : sequence of mappings
        The entries of training_history.json.
    levels : sequence of str [L]
        Names of the levels, for the panel of codebook utilization.
    """
    figure = new_figure(5.6)
    panels = figure.subplots(3, 3, sharex=True).ravel()
    _draw_losses(panels[0], history)
    terms = [key for key in _keys(history) if key.endswith("_loss")]
    terms = [key for key in terms if key not in ("train_loss", "val_loss")]
    for axes, key in zip(panels[1:6], terms, strict=False):
        _draw(axes, history, key, TRAIN)
        axes.set_title(TERM_NAMES.get(key, key.removesuffix("_loss").replace("_", " ")))
    _draw(panels[6], history, "val_quality", VALIDATION)
    panels[6].set_title("validation R²")
    _draw_utilization(panels[7], history, levels)
    _draw(panels[8], history, "learning_rate", GREY)
    panels[8].set_title("learning rate")
    panels[8].set_ylim(bottom=0)
    best = _best_epoch(history)
    for axes in panels:
        if not axes.has_data():
            axes.set_axis_off()
            continue
        axes.axvline(best, color=GREY, linewidth=0.7, linestyle=":", zorder=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        formatter = ScalarFormatter(useOffset=False)
        formatter.set_powerlimits((-5, 4))
        axes.yaxis.set_major_formatter(formatter)
    for axes in panels[6:]:
        axes.set_xlabel("epoch")
    return figure


def _keys(history: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(key for entry in history for key in entry))


def _values(history: Sequence[Entry], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the epochs that recorded `key`, and what they recorded."""
    found = [(e["epoch"], e[key]) for e in history if key in e and "epoch" in e]
    return np.array([epoch for epoch, _ in found]), np.array([value for _, value in found])


def _draw(axes: Axes, history: Sequence[Entry], key: str, color: str, name: str = "") -> None:
    epochs, values = _values(history, key)
    if len(epochs):
        _draw_line(axes, epochs, values, color, name)


def _draw_line(
    axes: Axes, epochs: np.ndarray, values: np.ndarray, color: str, name: str = ""
) -> None:
    marker = "o" if len(epochs) <= 30 else ""  # a line of one epoch is none
    axes.plot(epochs, values, marker=marker, markersize=2.5, color=color, label=name)


def _draw_losses(axes: Axes, history: Sequence[Entry]) -> None:
    _draw(axes, history, "train_loss", TRAIN, "train, weighted sum")
    _draw(axes, history, "val_loss", VALIDATION, "validation, squared error")
    axes.set_title("loss")
    axes.set_ylim(bottom=0)
    if axes.has_data():
        axes.legend(fontsize=6.5)


def _draw_utilization(axes: Axes, history: Sequence[Entry], levels: Sequence[str]) -> None:
    epochs, values = _values(history, "utilization")
    if not len(epochs):
        return
    by_level = values.reshape(len(epochs), -1, len(levels)).mean(axis=1)
    for level, name in enumerate(levels):
        _draw_line(axes, epochs, by_level[:, level], PALETTE[level % len(PALETTE)], name)
    axes.set_ylim(0, 1.02)
    axes.set_title("utilization")
    axes.legend(fontsize=6.5)


def _best_epoch(history: Sequence[Entry]) -> int:
    epochs, losses = _values(history, "val_loss")
    return int(epochs[np.nanargmin(losses)]) if np.isfinite(losses).any() else 0
