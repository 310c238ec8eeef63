"""Centroids of categories, and how far apart they point."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

from spinlock.tokenizer.categories.column_tree import unit_columns


def category_centroids(x: np.ndarray, partition: Sequence[np.ndarray]) -> np.ndarray:
    """Return the unit centroid [C, n] of each category of columns of x [n, D].

    The mean of the member columns, each centred, of unit norm, and with the sign of its
    correlation with the category's first principal component.
    """
    centroids = np.zeros((len(partition), len(x)))
    for c, members in enumerate(partition):
        z = unit_columns(x[:, members])
        signs = np.where(_leading_axis(z) < 0, -1.0, 1.0)
        centroid = z @ signs / len(members)
        length = np.linalg.norm(centroid)
        centroids[c] = centroid / length if length > 0 else centroid
    return centroids


def _leading_axis(z: np.ndarray) -> np.ndarray:
    """Return the first principal axis [d] of columns z [n, d]; its sign is arbitrary.

    A column's correlation with the component is its entry times a positive factor.
    """
    if len(z) < z.shape[1]:  # the smaller product has the same eigenvalues
        return z.T @ _leading_eigenvector(z @ z.T)
    return _leading_eigenvector(z.T @ z)


def _leading_eigenvector(symmetric: np.ndarray) -> np.ndarray:
    last = len(symmetric) - 1
    return eigh(symmetric, subset_by_index=(last, last))[1][:, 0]


def centroid_cosines(x: np.ndarray, partition: Sequence[np.ndarray]) -> np.ndarray:
    """Return |cos| of the centroids of all category pairs [C (C − 1) / 2]; empty for one."""
    centroids = category_centroids(x, partition)
    rows, columns = np.triu_indices(len(partition), k=1)
    return np.abs(centroids @ centroids.T)[rows, columns]


def mean_abs_cosine(x: np.ndarray, partition: Sequence[np.ndarray]) -> float:
    """Return the mean of `centroid_cosines`, 0 for a single category."""
    cosines = centroid_cosines(x, partition)
    return float(cosines.mean()) if len(cosines) else 0.0
