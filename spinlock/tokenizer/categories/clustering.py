"""Hierarchical clustering of columns by their correlation, and the choice of a partition."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata
from sklearn.metrics import silhouette_score

from spinlock.tokenizer.categories.centroids import mean_abs_cosine

log = logging.getLogger(__name__)

MIN_FEATURES = 3  # of a category, where that gives enough of them
CUT_FURTHER = 1.2  # factor between cuts beyond the largest number of categories

Partition = list[np.ndarray]


@dataclass(frozen=True)
class PartitionQuality:
    """How good a partition into `num_categories` is: one row of silhouette.csv."""

    num_categories: int
    silhouette: float
    mean_abs_cosine: float
    validation_quality: float | None = None


@dataclass(frozen=True)
class Clustering:
    """The chosen partition of the columns, and what it was chosen from."""

    partition: Partition
    merge_tree: np.ndarray
    correlation: np.ndarray
    candidates: list[PartitionQuality]


def correlation_matrix(x: np.ndarray, method: str = "spearman") -> np.ndarray:
    """Return the correlation [D, D] of the columns of x [n, D], accumulated in float64."""
    ranked = rankdata(x, axis=0) if method == "spearman" else x
    z = ranked.astype(np.float64)
    z -= z.mean(axis=0)
    norm = np.linalg.norm(z, axis=0)
    z /= np.where(norm > 0, norm, 1.0)
    correlation = np.clip(z.T @ z, -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def merge_tree(correlation: np.ndarray) -> np.ndarray:
    """Return the Ward linkage [D - 1, 4] of the columns by 1 − |r|."""
    distance = 1.0 - np.abs(correlation)
    np.fill_diagonal(distance, 0.0)
    return linkage(squareform(distance, checks=False), method="ward")


def cut_tree(
    tree: np.ndarray, correlation: np.ndarray, num_categories: int, min_features: int
) -> Partition:
    """Cut the tree into at most `num_categories`; clusters that are too small join the nearest.

    Returns
    -------
    list of int arrays
        Ascending column indices of each category, the categories by their first column.
        Every column is in exactly one.
    """
    labels = fcluster(tree, num_categories, criterion="maxclust")
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    similarity = np.abs(correlation)
    while len(groups) > 1:
        smallest = min(range(len(groups)), key=lambda i: len(groups[i]))
        if len(groups[smallest]) >= min_features:
            break
        members = groups.pop(smallest)
        closeness = [similarity[np.ix_(members, group)].mean() for group in groups]
        nearest = int(np.argmax(closeness))
        groups[nearest] = np.sort(np.concatenate([groups[nearest], members]))
    return sorted(groups, key=lambda group: int(group[0]))


def silhouette(correlation: np.ndarray, partition: Sequence[np.ndarray]) -> float:
    """Return the mean silhouette of the columns by 1 − |r| (Rousseeuw 1987)."""
    n_columns = len(correlation)
    if not 2 <= len(partition) < n_columns:
        return 0.0
    labels = np.empty(n_columns, int)
    for c, members in enumerate(partition):
        labels[members] = c
    distance = 1.0 - np.abs(correlation)
    np.fill_diagonal(distance, 0.0)
    return float(silhouette_score(distance, labels, metric="precomputed"))


def partitions_by_number(
    tree: np.ndarray, correlation: np.ndarray, fewest: int, most: int, min_features: int
) -> dict[int, Partition]:
    """Return a partition for each number of categories that cuts of the tree give, up to `most`.

    Cuts begin at `fewest` clusters. Where small clusters merge, a cut gives fewer categories
    than clusters; then the tree is cut further down.
    """
    n_columns = len(correlation)
    found: dict[int, Partition] = {}
    number = min(fewest, n_columns)
    while True:
        partition = cut_tree(tree, correlation, number, min_features)
        if len(partition) <= most:
            found.setdefault(len(partition), partition)
        if len(partition) >= most or number == n_columns:
            return found
        number = number + 1 if number < most else min(int(CUT_FURTHER * number) + 1, n_columns)


def discover_categories(
    x: np.ndarray,
    *,
    method: str = "spearman",
    num_categories: int | None = None,
    max_clusters: int = 25,
    min_features: int | None = None,
    orthogonality_target: float = 0.15,
    useful: tuple[int, int] | None = None,
    enough: Callable[[Partition], bool] | None = None,
    validation_quality: Callable[[Partition], float] | None = None,
) -> Clustering:
    """Cluster the columns of normalised train rows x [n, D].

    Parameters
    ----------
    num_categories : int, optional
        Fixes the number; else it is chosen among 2..max_clusters. The others are measured
        all the same, so that the choice can be judged.
    min_features : int, optional
        Smaller clusters join the nearest one. By default `MIN_FEATURES`, or 1 where that gives
        fewer categories than are wanted.
    useful : (int, int), optional
        Choose among at least and at most so many, or as near as the columns give: fewer could
        not hold the bits that are wanted, more would leave too few for each.
    enough : callable, optional
        Whether the categories of a partition take enough different values to use the bits.
        The fewest of the useful that do are the least; without any this does not count.
    validation_quality : callable, optional
        Gives the validation R² of a partition; the best one is then taken, whatever is
        `useful`, since what is measured needs no rule. Otherwise the
        best silhouette wins among those whose mean |cosine| between category centroids is at
        most `orthogonality_target` (of all, the most orthogonal one when none is).
    """
    correlation = correlation_matrix(x, method)
    if len(correlation) == 1:
        return Clustering([np.array([0])], np.empty((0, 4)), correlation, [])
    tree = merge_tree(correlation)

    def cut(smallest: int) -> dict[int, Partition]:
        found = partitions_by_number(tree, correlation, 2, max_clusters, smallest)
        if num_categories:
            found |= partitions_by_number(
                tree, correlation, num_categories, num_categories, smallest
            )
        return found

    low, high = useful or (2, max_clusters)
    wanted = num_categories or min(low, max_clusters)
    if num_categories:
        enough = None
    partitions = cut(min_features or MIN_FEATURES)
    fewest = _fewest(partitions, wanted, enough)
    if min_features is None and fewest is None:
        small = cut(1)
        fewest = _fewest(small, wanted, enough)
        if fewest is not None or max(partitions) < wanted:
            partitions = small
    candidates = [
        PartitionQuality(
            number,
            silhouette(correlation, partition),
            mean_abs_cosine(x, partition),
            validation_quality(partition) if validation_quality else None,
        )
        for number, partition in sorted(partitions.items())
    ]
    if num_categories:
        chosen = max(number for number in partitions if number <= num_categories)
    else:
        low = 1 if validation_quality else fewest or min(low, max(partitions))
        high = max_clusters if validation_quality else max(low, high)
        able = [one for one in candidates if low <= one.num_categories <= high]
        chosen = _choose(able or candidates[-1:], orthogonality_target).num_categories
    return Clustering(partitions[chosen], tree, correlation, candidates)


def _fewest(
    partitions: dict[int, Partition], wanted: int, enough: Callable[[Partition], bool] | None
) -> int | None:
    """Return the lowest number from `wanted` on whose categories are enough."""
    numbers = (number for number in sorted(partitions) if number >= wanted)
    return next(
        (number for number in numbers if enough is None or enough(partitions[number])), None
    )


def _choose(candidates: list[PartitionQuality], target: float) -> PartitionQuality:
    measured = [one for one in candidates if one.validation_quality is not None]
    if measured:
        return max(measured, key=attrgetter("validation_quality"))
    allowed = [one for one in candidates if one.mean_abs_cosine <= target]
    if allowed:
        return max(allowed, key=lambda one: one.silhouette)
    chosen = min(candidates, key=lambda one: one.mean_abs_cosine)
    log.warning(
        "no number of categories from %d to %d reaches orthogonality_target %.2f; taking %d "
        "categories with %.3f",
        candidates[0].num_categories,
        candidates[-1].num_categories,
        target,
        chosen.num_categories,
        chosen.mean_abs_cosine,
    )
    return chosen
