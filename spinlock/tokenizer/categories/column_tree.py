"""Hierarchical clustering of columns by their correlation: the tree of merges, and its cuts."""

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

COLUMN_BLOCK = 256  # columns that are copied at a time
CUT_FURTHER = 1.2  # factor between cuts beyond the largest number of categories

Partition = list[np.ndarray]


def correlation_matrix(x: np.ndarray, method: str = "spearman") -> np.ndarray:
    """Return the correlation [D, D] of the columns of x [n, D], accumulated in float64."""
    z = unit_columns(x, ranked=method == "spearman")
    correlation = np.clip(z.T @ z, -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def unit_columns(x: np.ndarray, *, ranked: bool = False) -> np.ndarray:
    """Return the columns of x [n, D], or their ranks, centred, of norm 1; constant ones are 0."""
    z = np.empty(x.shape)
    for first in range(0, x.shape[1], COLUMN_BLOCK):
        columns = slice(first, first + COLUMN_BLOCK)
        block = (rankdata(x[:, columns], axis=0) if ranked else x[:, columns]).astype(np.float64)
        block -= block.mean(axis=0)
        norm = np.linalg.norm(block, axis=0)
        z[:, columns] = block / np.where(norm > 0, norm, 1.0)
    return z


def column_distances(correlation: np.ndarray) -> np.ndarray:
    """Return 1 − |r| [D, D]."""
    distance = 1.0 - np.abs(correlation)
    np.fill_diagonal(distance, 0.0)
    return distance


def merge_tree(correlation: np.ndarray) -> np.ndarray:
    """Return the Ward linkage [D - 1, 4] of the columns by 1 − |r|."""
    return linkage(squareform(column_distances(correlation), checks=False), method="ward")


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
