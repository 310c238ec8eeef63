"""Figures of how much the tokens keep: per feature, per bit, and of the distances."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from spinlock.analysis.figures.style import (
    GREY,
    MARKERS,
    PALETTE,
    TARGET,
    color_of,
    columns_that_fit,
    draw_target,
    label,
    legend_marks,
    new_figure,
    number,
    round_of,
    styled,
)

N_WORST = 10
LOWEST = -1.0  # R² that is drawn as it is: further down, others would vanish
MOST_INSIDE = 5  # families whose legend has room beside the points
NEAR = 0.06  # of the width: nearer than that, names of levels would overprint


@styled
def feature_quality_figure(
    quality: np.ndarray, names: Sequence[str], families: Sequence[str], target: float, rows: str
) -> Figure:
    """Draw the R² of every feature, sorted, and name the worst.

    Parameters
    ----------
    quality : array [D]
        R² of each column.
    names, families : sequences of str [D]
    target : float
        What the pooled R² should exceed.
    rows : str
        Which rows it was measured on.
    """
    order = np.argsort(quality, kind="stable")
    order = order[np.isfinite(quality[order])]
    kinds = list(dict.fromkeys(families))
    figure = new_figure(3.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    ranks = np.arange(len(order))
    kind_of = np.array([kinds.index(families[i]) for i in order])
    lowest = max(LOWEST, float(quality[order[0]])) if len(order) else 0.0
    shown = np.maximum(quality[order], LOWEST)
    markers = [MARKERS[round_of(k) % len(MARKERS)] for k in range(len(kinds))]
    left.plot(ranks, shown, color="#BBBBBB", linewidth=0.8, zorder=0)
    for k, marker in enumerate(markers):
        mine = kind_of == k
        left.scatter(
            ranks[mine], shown[mine], s=9, color=color_of(k), marker=marker, linewidths=0,
            zorder=3 - mine.sum() / len(families),  # small families above large ones
        )  # fmt: skip
    draw_target(left, target)
    left.set_ylim(min(lowest, target) - 0.05, 1.02)
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set_xlabel("features, worst first")
    left.set_ylabel(f"R² on {rows} rows")
    left.set_title(f"median {np.median(quality[order]):.3f}" if len(order) else "nothing varies")
    marks = legend_marks(kinds, markers)
    if len(kinds) <= MOST_INSIDE:
        left.legend(handles=marks, loc="lower right")
    else:
        figure.legend(handles=marks, loc="outside lower center", ncols=columns_that_fit(kinds))
    worst = order[:N_WORST]
    right.barh(
        np.arange(len(worst)), shown[: len(worst)], height=0.65,
        color=[color_of(kinds.index(families[i])) for i in worst],
    )  # fmt: skip
    for i, value in enumerate(quality[worst]):
        if value < LOWEST:  # the bar ends where the axis does
            right.text(0.02, i, number(value), va="center", fontsize=6, color="#444444")
    right.set_yticks(np.arange(len(worst)), [label(names[i], 56) for i in worst], fontsize=6)
    right.set_ylim(len(worst) - 0.4, -0.6)
    right.set_xlim(min(0.0, lowest) * 1.05, 1)
    right.axvline(0, color="black", linewidth=0.6)
    right.set_xlabel("R²")
    right.set_title("the worst")
    return figure


@styled
def rate_distortion_figure(
    bits: np.ndarray,
    quality: np.ndarray,
    levels: Sequence[str],
    others: Mapping[str, tuple[np.ndarray, np.ndarray]],
    reference: str | None,
    target: float,
    rows: str,
) -> Figure:
    """Draw R² against bits: our levels, and other quantisers on the same rows.

    Parameters
    ----------
    bits, quality : arrays [L]
        Nominal bits and R² when levels 0..l are decoded.
    levels : sequence of str [L]
    others : mapping
        Name → (bits, R²) of each other method.
    reference : str or None
        The entry of `others` that is a reference and no method: drawn as a plain line.
    target : float
    rows : str
        Which rows it was measured on.
    """
    figure = new_figure(3.2, 6.4)
    axes = figure.subplots()
    for i, (name, (rate, value)) in enumerate(others.items()):
        order = np.argsort(rate)
        if name == reference:
            axes.plot(rate[order], value[order], color=GREY, linestyle="--", label=label(name))
        else:
            axes.plot(
                rate[order], value[order], color=color_of(i + 1), label=label(name),
                marker=MARKERS[i + 1], markersize=4, linewidth=1, alpha=0.9,
            )  # fmt: skip
    axes.plot(
        bits, quality, color=PALETTE[0], linewidth=2, marker="o", markersize=6, zorder=5,
        label="spinlock, by level",
    )  # fmt: skip
    rates = np.concatenate([bits, *(rate for rate, _ in others.values())])
    for names, rate in _beside(levels, bits, NEAR * float(rates.max())):
        axes.axvline(rate, color=PALETTE[0], linewidth=0.6, linestyle=":", zorder=0)
        axes.text(
            rate, 0.01, f" {label(names)}", transform=axes.get_xaxis_transform(), fontsize=7,
            color=PALETTE[0],
        )  # fmt: skip
    axes.axhline(target, color=TARGET, linestyle=":", linewidth=0.9, label=f"target {target:g}")
    drawn = np.concatenate([quality, *(value for _, value in others.values())])
    lowest = max(LOWEST if quality.min() < 0 else 0.08, float(np.nanmin(drawn)))
    axes.set_ylim(lowest - 0.08, 1.0)
    axes.set_xlim(0.75 * rates.min(), max(1.05 * rates.max(), 1))  # a model may have no bits
    axes.set_xlabel("bits per operator")
    axes.set_ylabel(f"R² on {rows} rows")
    axes.grid(linewidth=0.3, color="#DDDDDD")
    figure.legend(loc="outside right upper")
    return figure


def _beside(levels: Sequence[str], bits: np.ndarray, near: float) -> list[tuple[str, float]]:
    """Return names and bits of the levels, of those that are too near for two names in one."""
    named: list[tuple[str, float]] = []
    for level, rate in zip(levels, bits.tolist(), strict=True):
        if named and rate - named[-1][1] < near:
            named[-1] = (f"{named[-1][0]}, {level}", named[-1][1])
        else:
            named.append((level, rate))
    return named


@styled
def distance_figure(between_rows: np.ndarray, between_codes: np.ndarray) -> Figure:
    """Draw distances between code vectors against distances between inputs.

    Parameters
    ----------
    between_rows, between_codes : arrays [pairs]
        The diagonal left out.
    """
    figure = new_figure(3.5, 4.4)
    axes = figure.subplots()
    image = axes.hexbin(
        between_rows, between_codes, gridsize=55, bins="log", mincnt=1, linewidths=0.1
    )
    # a decade at least: a shorter logarithmic scale has no readable ticks
    image.set_clim(1, max(10, image.get_array().max()))
    correlation = np.corrcoef(between_rows, between_codes)[0, 1]
    axes.set_title(f"Pearson correlation {correlation:.3f} over {len(between_rows):,} pairs")
    axes.set_xlabel("distance between inputs")
    axes.set_ylabel("distance between code vectors")
    figure.colorbar(image, ax=axes, label="pairs", shrink=0.8)
    return figure
