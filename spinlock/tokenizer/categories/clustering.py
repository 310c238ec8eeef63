"""The choice of a partition of the columns into categories, among cuts of their tree."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from sklearn.metrics import silhouette_score

from spinlock.tokenizer.categories.centroids import mean_abs_cosine
from spinlock.tokenizer.categories.column_tree import (
    Partition,
    column_distances,
    correlation_matrix,
    merge_tree,
    partitions_by_number,
)
from spinlock.tokenizer.categories.division import Demand, with_divided

log = logging.getLogger(__name__)

MIN_FEATURES = 3  # of a category, where that gives enough of them
ENOUGH = 0.98  # of the share of the wanted bits that the best partition holds


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


def silhouette(distance: np.ndarray, partition: Sequence[np.ndarray]) -> float:
    """Return the mean silhouette of columns by their distances [D, D] (Rousseeuw 1987)."""
    n_columns = len(distance)
    if not 2 <= len(partition) < n_columns:
        return 0.0
    labels = np.empty(n_columns, int)
    for c, members in enumerate(partition):
        labels[members] = c
    return float(silhouette_score(distance, labels, metric="precomputed"))


def discover_categories(
    x: np.ndarray,
    *,
    method: str = "spearman",
    num_categories: int | None = None,
    max_clusters: int = 25,
    min_features: int | None = None,
    orthogonality_target: float = 0.15,
    useful: tuple[int, int] | None = None,
    demand: Demand | None = None,
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
    demand : Demand, optional
        What categories want of the bits that there are. Where no number is fixed, categories that
        want more than their books hold are divided further, and numbers of categories that miss
        more than the others are not taken.
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
    if num_categories:
        demand = None

    def cut(smallest: int) -> dict[int, Partition]:
        found = partitions_by_number(tree, correlation, 2, max_clusters, smallest)
        if num_categories:
            found |= partitions_by_number(
                tree, correlation, num_categories, num_categories, smallest
            )
        if demand:
            found = with_divided(found, correlation, max_clusters, smallest, demand)
        return found

    low, high = useful or (2, max_clusters)
    wanted = num_categories or min(low, max_clusters)
    partitions = cut(min_features or MIN_FEATURES)
    useful_numbers, share = _useful(partitions, wanted, demand)
    if min_features is None and share < ENOUGH:
        small = cut(1)
        of_small, share_of_small = _useful(small, wanted, demand)
        if ENOUGH * share_of_small > share or max(partitions) < wanted:
            partitions, useful_numbers = small, of_small
    distance = column_distances(correlation)
    candidates = [
        PartitionQuality(
            number,
            silhouette(distance, partition),
            mean_abs_cosine(x, partition),
            validation_quality(partition) if validation_quality else None,
        )
        for number, partition in sorted(partitions.items())
    ]
    if num_categories:
        chosen = max(number for number in partitions if number <= num_categories)
    else:
        numbers = {one for one in useful_numbers if one <= max(high, useful_numbers[0])}
        able = [one for one in candidates if validation_quality or one.num_categories in numbers]
        chosen = _choose(able, orthogonality_target).num_categories
    return Clustering(partitions[chosen], tree, correlation, candidates)


def given_categories(
    x: np.ndarray, partition: Partition, *, method: str = "spearman"
) -> Clustering:
    """Measure a partition of the columns of normalised train rows x [n, D] that a user gives."""
    correlation = correlation_matrix(x, method)
    tree = merge_tree(correlation) if len(correlation) > 1 else np.empty((0, 4))
    apart = silhouette(column_distances(correlation), partition)
    measured = PartitionQuality(len(partition), apart, mean_abs_cosine(x, partition))
    return Clustering(partition, tree, correlation, [measured])


def _useful(
    partitions: dict[int, Partition], wanted: int, demand: Demand | None
) -> tuple[list[int], float]:
    """Return the numbers from `wanted` on whose categories hold about the most of what they want.

    And the share that is the most. Where no number reaches `wanted`, the highest one stands, with
    a share of 0.
    """
    numbers = [number for number in sorted(partitions) if number >= wanted]
    if not numbers:
        return [max(partitions)], 0.0
    shares = [demand.share(partitions[number]) if demand else 1.0 for number in numbers]
    most = max(shares)
    return [n for n, share in zip(numbers, shares, strict=True) if share >= ENOUGH * most], most


def _choose(candidates: list[PartitionQuality], target: float) -> PartitionQuality:
    measured = [one for one in candidates if one.validation_quality is not None]
    if measured:
        return max(measured, key=attrgetter("validation_quality"))
    allowed = [one for one in candidates if one.mean_abs_cosine <= target]
    if allowed:
        return max(allowed, key=lambda one: one.silhouette)
    chosen = min(candidates, key=lambda one: one.mean_abs_cosine)
    log.warning(
        "orthogonality_target %.2f is not reached by %s categories; taking %d with %.3f",
        target,
        " or ".join(str(one.num_categories) for one in candidates),
        chosen.num_categories,
        chosen.mean_abs_cosine,
    )
    return chosen
