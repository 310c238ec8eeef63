"""Figures of the codebooks: which codes are used, and how evenly."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import StrMethodFormatter

from spinlock.analysis.figures.style import (
    GREY,
    ink_on,
    label,
    new_figure,
    short_names,
    styled,
)
from spinlock.analysis.metrics import entropy_bits

MOST_WITH_TEXT = 5  # levels whose cells have room for a text
MOST_ACROSS = 4  # panels side by side


@styled
def codebook_use_figure(
    counts: Sequence[Sequence[np.ndarray]], names: Sequence[str], levels: Sequence[str]
) -> Figure:
    """Draw utilization and relative perplexity of every codebook, category × level.

    Parameters
    ----------
    counts : sequence [C] of sequences [L] of int arrays [K]
        How often each code was used.
    names, levels : sequences of str
    """
    sizes = np.array([[len(book) for book in books] for books in counts])
    used = np.array([[np.count_nonzero(book) for book in books] for books in counts])
    perplexity = np.array([[2 ** entropy_bits(book) for book in books] for books in counts])
    figure = new_figure(max(1.9, 1.1 + 0.21 * len(names)))  # the scale's label is that high
    left, right = figure.subplots(1, 2, sharey=True)
    used_text = [
        [f"{u}/{k}" for u, k in zip(*row, strict=True)] for row in zip(used, sizes, strict=True)
    ]
    share_text = [[f"{value:.1f}" for value in row] for row in perplexity]
    _draw_cells(left, used / sizes, used_text, levels)
    image = _draw_cells(right, perplexity / sizes, share_text, levels)
    shares = (used / sizes)[sizes > 1]
    left.set_title(
        "codes used" + (f" (mean utilization {shares.mean():.2f})" if len(shares) else "")
    )
    right.set_title("perplexity (colour: of the book's size)")
    left.set_yticks(np.arange(len(names)), short_names(names))
    left.set_ylabel("category")
    figure.colorbar(image, ax=[left, right], label="fraction of the codebook", aspect=30, pad=0.01)
    return figure


def _draw_cells(
    axes: Axes, shares: np.ndarray, texts: Sequence[Sequence[str]], levels: Sequence[str]
) -> AxesImage:
    image = axes.imshow(shares, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    inks = ink_on(shares)
    for i, row in enumerate(texts if len(levels) <= MOST_WITH_TEXT else ()):
        for j, text in enumerate(row):
            axes.text(j, i, text, ha="center", va="center", fontsize=6.5, color=inks[i, j])
    names = [label(level) for level in levels]
    if len(levels) > MOST_WITH_TEXT:
        names = [str(i) for i in range(len(levels))]
        axes.set_xlabel("level")
    axes.set_xticks(np.arange(len(levels)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


@styled
def code_frequency_figure(counts: Sequence[Sequence[np.ndarray]], levels: Sequence[str]) -> Figure:
    """Draw how often codes are used by rank (Zipf's plot), one line per codebook.

    Parameters
    ----------
    counts : sequence [C] of sequences [L] of int arrays [K]
    levels : sequence of str [L]
    """
    across = min(len(levels), MOST_ACROSS)
    down = -(-len(levels) // across)
    figure = new_figure(2.7 * down)
    panels = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes in panels.ravel()[len(levels) :]:
        axes.set_axis_off()
    for level, axes in enumerate(panels.ravel()[: len(levels)]):
        axes.set_title(label(levels[level]))
        books = [books[level] for books in counts if len(books[level]) > 1]
        if not books:
            axes.text(0.5, 0.5, "books of one code", transform=axes.transAxes, ha="center")
            axes.tick_params(bottom=False, labelbottom=False)
            continue
        for book in books:
            frequency = np.sort(book)[::-1] / max(book.sum(), 1)
            frequency = frequency[frequency > 0]
            ranks = np.arange(1, len(frequency) + 1)
            axes.plot(ranks, frequency, color="#0072B2", alpha=0.35, linewidth=0.9)
        largest = max(len(book) for book in books)
        axes.plot([1, largest], [1 / largest] * 2, color=GREY, linestyle="--", linewidth=0.9)
        axes.text(
            1, 1 / largest, f" uniform, K = {largest}", color="#555555", va="bottom", fontsize=7
        )
        axes.set_xscale("log", base=2)  # ticks with room for them in small books
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        axes.set_yscale("log")
        axes.set_xlabel("rank of the code")
    for axes in panels[:, 0]:
        axes.set_ylabel("share of operators")
    return figure
