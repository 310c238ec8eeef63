"""Figures of the categories: how many, which features, how different."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.cluster.hierarchy import leaves_list

from spinlock.analysis.figures.style import (
    DIVERGING,
    GREY,
    PALETTE,
    color_of,
    columns_that_fit,
    draw_target,
    ink_on,
    label,
    names_that_fit,
    new_figure,
    round_of,
    short_names,
    styled,
)

HATCHES = ("", "////", "....", "xxxx")  # of families that share a colour
TYPICAL_WIDTH = 66  # letters of names beside a bar
MOST_CELLS_WITH_TEXT = 20  # rows of a matrix whose numbers can still be read
MOST_NAMES = 28  # beside a matrix, that do not touch
LINES = 50  # of names that the correlation matrix is high


@styled
def silhouette_figure(
    num_categories: np.ndarray,
    silhouette: np.ndarray,
    mean_abs_cosine: np.ndarray,
    chosen: int,
    target: float,
) -> Figure:
    """Draw silhouette and mean |cosine| between centroids against K, with the chosen K.

    Parameters
    ----------
    num_categories, silhouette, mean_abs_cosine : arrays [candidates]
    chosen : int
        The number of categories that was taken.
    target : float
        The orthogonality target, for the choice of K by silhouette.
    """
    figure = new_figure(3.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    at = np.flatnonzero(num_categories == chosen)
    panels = (
        (upper, silhouette, "silhouette", PALETTE[0]),
        (lower, mean_abs_cosine, "mean |cosine|", PALETTE[2]),
    )
    for axes, values, name, color in panels:
        axes.plot(num_categories, values, marker="o", color=color)
        axes.axvline(chosen, color=GREY, linewidth=0.8, zorder=0)
        axes.plot(
            num_categories[at], values[at], "o", markersize=9, fillstyle="none", color=PALETTE[1]
        )
        axes.set_ylabel(name)
        axes.margins(y=0.15)
    draw_target(lower, target)
    lower.set_ylim(bottom=0)
    lower.xaxis.get_major_locator().set_params(integer=True)
    lower.set_xlabel("number of categories K")
    upper.set_title("1 category" if chosen == 1 else f"{chosen} categories")
    return figure


@styled
def correlation_figure(
    correlation: np.ndarray, categories: Mapping[str, np.ndarray], tree: np.ndarray
) -> Figure:
    """Draw the correlation matrix of the columns sorted by the merge tree, categories outlined.

    Where categories do not follow the tree (a manual mapping), the columns are sorted by
    category and the tree is left out.

    Parameters
    ----------
    correlation : array [D, D]
    categories : mapping
        Category → columns.
    tree : array [D - 1, 4]
        Linkage in scipy's form.
    """
    owner = np.empty(len(correlation), int)
    for c, members in enumerate(categories.values()):
        owner[members] = c
    order, by_tree = _order(owner, tree)
    figure = new_figure(7.4 if by_tree else 6.4, 6.6)
    if by_tree:
        above, axes = figure.subplots(2, 1, height_ratios=[1, 5.2], sharex=True)
        _draw_tree(above, tree, order, owner)
    else:
        axes = figure.subplots()
    n_columns = len(order)
    image = axes.imshow(
        correlation[np.ix_(order, order)], cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto",
        interpolation="nearest", extent=(0, n_columns, n_columns, 0), rasterized=True,
    )  # fmt: skip
    names, runs = short_names(list(categories)), _runs(owner[order])
    for first, last in runs:
        axes.add_patch(
            Rectangle((first, first), last - first, last - first, fill=False, linewidth=0.8)
        )
    named = _apart(runs, n_columns / LINES)
    axes.set_yticks(
        [(first + last) / 2 for first, last in named],
        [names[owner[order[first]]] for first, _ in named],
    )
    axes.tick_params(left=False)
    axes.set_xlim(0, n_columns)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(f"{n_columns} features")
    axes.set_ylabel("category")
    figure.colorbar(image, ax=axes, label="correlation", shrink=0.5, aspect=30, pad=0.01)
    return figure


def _order(owner: np.ndarray, tree: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the order of the columns, and whether it is the tree's."""
    if len(tree) == len(owner) - 1 and len(tree):
        leaves = leaves_list(tree)
        # small clusters that joined a distant one break some runs; a manual mapping breaks most
        if len(_runs(owner[leaves])) <= 2 * len(np.unique(owner)):
            return leaves, True
    return np.argsort(owner, kind="stable"), False


def _runs(labels: np.ndarray) -> list[tuple[int, int]]:
    """Return where each run of equal labels begins and ends."""
    cuts = np.flatnonzero(np.diff(labels)) + 1
    edges = [0, *cuts.tolist(), len(labels)]
    return list(itertools.pairwise(edges))


def _apart(runs: Sequence[tuple[int, int]], distance: float) -> list[tuple[int, int]]:
    """Return the runs whose names do not overprint, long ones first."""
    named: list[tuple[int, int]] = []
    for run in sorted(runs, key=lambda run: run[0] - run[1]):
        if all(abs(sum(run) - sum(other)) / 2 >= distance for other in named):
            named.append(run)
    return named


def _draw_tree(axes: Axes, tree: np.ndarray, order: np.ndarray, owner: np.ndarray) -> None:
    n_leaves = len(order)
    x, height = np.zeros(2 * n_leaves - 1), np.zeros(2 * n_leaves - 1)
    x[order] = np.arange(n_leaves) + 0.5
    category = np.append(owner, np.zeros(n_leaves - 1, int))
    position = np.argsort(np.unique(owner[order], return_index=True)[1]).argsort()
    lines, colors = [], []
    for i, (left, right, distance, _) in enumerate(tree):
        a, b, node = int(left), int(right), n_leaves + i
        x[node], height[node] = (x[a] + x[b]) / 2, distance
        # −1 above the categories
        category[node] = category[a] if category[a] == category[b] else -1
        lines.append([(x[a], height[a]), (x[a], distance), (x[b], distance), (x[b], height[b])])
        # by position, so that neighbours differ
        colors.append(GREY if category[node] < 0 else color_of(position[category[node]]))
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=0.7))
    axes.set_ylim(0, 1.05 * tree[:, 2].max())
    axes.set_ylabel("merge distance")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False)


@styled
def composition_figure(
    families: Sequence[str], categories: Mapping[str, np.ndarray], typical: Sequence[Sequence[str]]
) -> Figure:
    """Draw how many features of each family make up each category, and name the typical ones.

    Parameters
    ----------
    families : sequence of str [D]
        Family of each column.
    categories : mapping
        Category → columns.
    typical : sequence [C] of sequences of str
        The features that stand for each category.
    """
    kinds = list(dict.fromkeys(families))
    of_column = np.array([kinds.index(family) for family in families])
    counts = np.array(
        [np.bincount(of_column[members], minlength=len(kinds)) for members in categories.values()]
    )
    n_categories = len(counts)
    figure = new_figure(0.9 + 0.24 * n_categories)
    axes = figure.subplots()
    left = np.zeros(n_categories)
    for k, kind in enumerate(kinds):
        axes.barh(
            np.arange(n_categories), counts[:, k], left=left, height=0.72,
            color=color_of(k), edgecolor="white", linewidth=0.4, label=label(kind),
            hatch=HATCHES[round_of(k) % len(HATCHES)],
        )  # fmt: skip
        left += counts[:, k]
    for c, names in enumerate(typical):
        text = ", ".join(names_that_fit([label(name, 44) for name in names], TYPICAL_WIDTH))
        axes.text(left[c] + 0.01 * left.max(), c, text, va="center", fontsize=6, color="#444444")
    axes.set_yticks(np.arange(n_categories), short_names(list(categories)))
    axes.set_ylim(n_categories - 0.4, -0.6)
    axes.set_xlim(0, 1.9 * left.max())
    # ticks only where bars can be: the rest of the width is for the names
    step = max(1, 5 * round(left.max() / 20))
    axes.set_xticks(np.arange(0, left.max() + 1, step))
    axes.set_xlabel("number of features, and the typical ones", loc="left")
    axes.set_ylabel("category")
    axes.spines["bottom"].set_bounds(0, left.max())
    figure.legend(loc="outside upper left", ncols=columns_that_fit(kinds))
    return figure


@styled
def cosine_figure(cosines: np.ndarray, names: Sequence[str], target: float) -> Figure:
    """Draw |cosine| between all category centroids.

    Parameters
    ----------
    cosines : array [C, C]
        NaN, a blank cell, where nothing of a category varies.
    names : sequence of str [C]
    target : float
        What the mean over pairs should stay below.
    """
    pairs = cosines[np.triu_indices(len(cosines), k=1)]
    pairs = pairs[np.isfinite(pairs)]
    figure = new_figure(4.6, 5.4)
    axes = figure.subplots()
    shown = np.where(np.eye(len(cosines), dtype=bool), np.nan, cosines)
    image = axes.imshow(shown, vmin=0, vmax=1, interpolation="nearest")
    if len(cosines) <= MOST_CELLS_WITH_TEXT:
        inks = ink_on(cosines)
        for (i, j), value in np.ndenumerate(shown):
            if np.isfinite(value):
                text = f"{value:.2f}".removeprefix("0")
                axes.text(j, i, text, ha="center", va="center", fontsize=5.5, color=inks[i, j])
    shown_names = short_names(names)
    ticks = range(0, len(names), math.ceil(len(names) / MOST_NAMES))
    axes.set_xticks(ticks, [shown_names[i] for i in ticks], rotation=90)
    axes.set_yticks(ticks, [shown_names[i] for i in ticks])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("category")
    axes.set_ylabel("category")
    if len(pairs):
        axes.set_title(f"mean {pairs.mean():.3f} (target < {target:g}), maximum {pairs.max():.2f}")
    figure.colorbar(image, ax=axes, label="|cosine| between centroids", shrink=0.8)
    return figure
