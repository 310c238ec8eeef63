"""How figures look: one style, colours that survive colour blindness and print, sober text."""

import io
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
from cycler import cycler
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Figures = ParamSpec("Figures")

# Okabe and Ito (2008), without yellow, which vanishes on white paper
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#8A8A8A"
TARGET = "#444444"  # darker than what else is grey
SEQUENTIAL = "cividis"  # same order of lightness with and without colour vision
DIVERGING = "PuOr"
WIDE = 7.2  # inches: both columns of a journal page
PAGE_LETTERS, MARK_LETTERS = 110, 6  # of a legend across a page; what a mark takes beside its name

STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=PALETTE),
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "image.cmap": SEQUENTIAL,
    "svg.hashsalt": "spinlock",
    "savefig.dpi": 200,
}


@contextmanager
def _styled() -> Iterator[None]:
    # from matplotlib's own defaults, so that nobody's matplotlibrc changes a figure
    with style.context(["default", STYLE]), warnings.catch_warnings():
        # a name in a script that the font lacks is drawn as boxes; the page shows it right
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


def styled(draw: Callable[Figures, Figure]) -> Callable[Figures, Figure]:
    """Give a drawing function the project's style."""

    @wraps(draw)
    def in_style(*args: Figures.args, **kwargs: Figures.kwargs) -> Figure:
        with _styled():
            return draw(*args, **kwargs)

    return in_style


def new_figure(height: float, width: float = WIDE) -> Figure:
    """Return an empty figure of a size in inches; no pyplot, so nothing is kept alive."""
    return Figure(figsize=(width, height), layout="constrained")


def render(figure: Figure, kind: str) -> bytes:
    """Return the figure as `svg` or `png`, the same bytes each time."""
    undated = {"svg": {"Date": None}, "png": {"Software": None}}
    buffer = io.BytesIO()
    with _styled():
        figure.savefig(buffer, format=kind, metadata=undated[kind])
    return buffer.getvalue()


def label(text: str, width: int = 36) -> str:
    """Return a name from a file as text to draw: one line, no mathematics, not too long."""
    plain = "".join(" " if unicodedata.category(c).startswith("C") else c for c in str(text))
    if len(plain) > width:
        kept = (width - 1) // 2
        plain = f"{plain[: width - 1 - kept]}…{plain[-kept:]}"
    return plain.replace("$", r"\$")


def number(value: float) -> str:
    """Return a number in three digits, with a true minus sign."""
    return f"{value:.3g}".replace("-", "−")


def short_names(categories: Sequence[str], width: int = 20) -> list[str]:
    """Return category names for axes: automatic ones by their number."""
    return [label(name.removeprefix("category_"), width) for name in categories]


def color_of(index: int) -> str:
    """Return the colour of the index-th kind."""
    return PALETTE[index % len(PALETTE)]


def marker_of(index: int) -> str:
    """Return the marker of the index-th kind, which tells it where colours do not."""
    return MARKERS[index % len(MARKERS)]


def round_of(index: int) -> int:
    """Return how often the colours were all used before the index-th kind."""
    return index // len(PALETTE)


def legend_marks(names: Sequence[str], markers: Sequence[str] = ()) -> list[Line2D]:
    """Return legend entries with the colour of each kind, and its marker or the one given."""
    return [
        Line2D(
            [], [], linestyle="", marker=markers[i] if markers else marker_of(i), markersize=4,
            color=color_of(i), label=label(name),
        )
        for i, name in enumerate(names)
    ]  # fmt: skip


def names_that_fit(names: Sequence[str], width: int) -> Sequence[str]:
    """Return the first names that fit on a line of `width` letters, one at least."""
    ends = np.cumsum([len(name) + 2 for name in names])
    return names[: max(1, int((ends <= width).sum()))]


def columns_that_fit(names: Sequence[str], most: int = 9) -> int:
    """Return in how many columns a legend of these names is no wider than a page."""
    widest = max(len(label(name)) for name in names)
    return max(1, min(len(names), most, PAGE_LETTERS // (widest + MARK_LETTERS)))


def draw_target(axes: Axes, target: float) -> None:
    """Draw a level that is aimed at, named in the right margin: there are no data there."""
    axes.axhline(target, color=TARGET, linestyle="--", linewidth=0.9)
    axes.text(
        1.01, target, f"target\n{target:g}", transform=axes.get_yaxis_transform(),
        ha="left", va="center", color=TARGET, fontsize=7.5,
    )  # fmt: skip


def ink_on(shares: np.ndarray) -> np.ndarray:
    """Return the colour of text on cells of the sequential map from 0 to 1, dark to light."""
    return np.where(shares < 0.55, "white", "black")
