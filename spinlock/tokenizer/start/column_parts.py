"""Parts of a category's columns, one for each level, where columns take few values.

Of counts, grades or classes, few columns together take so few combinations of values that a book
can hold them all: levels that tell a part of the columns each (Jégou, Douze & Schmid, 2011, IEEE
TPAMI 33(1), "Product quantization") then tell them without an error, where residuals of all
columns, of any size, never come to an end.
"""

import numpy as np
import torch
from scipy.cluster.hierarchy import leaves_list
from torch import Tensor

from spinlock.tokenizer.categories.column_tree import correlation_matrix, merge_tree
from spinlock.tokenizer.start.category_axes import CategoryAxes
from spinlock.tokenizer.start.combinations import numbers_of_values

ROWS_SEEN = 5000  # that values are counted in and columns compared on, at most
ROWS_PER_VALUE = 4  # on average, of a column that takes few
MOST_COLUMNS = 0.5  # of a category's, that take few
ROTATION = 1e-4  # that an inner product of two axes may be off, by rounding


def column_parts(x: Tensor, axes: CategoryAxes, levels: int) -> list[Tensor]:
    """Return the columns that each level would tell, as what they are in the embedding.

    The parts are runs of alike columns, cut where they have fewest combinations of values in all;
    those first that say most of all the columns; of fewer columns than levels, the last parts are
    empty. There are none where most columns take many values, or where the embedding is no
    rotation of them: parts of columns would not be apart in it.

    Parameters
    ----------
    x : Tensor [n, d]
        Rows of the category's columns.
    axes : CategoryAxes
    levels : int

    Returns
    -------
    list [L] of Tensor [D_l, E], or of none
        Orthonormal rows, all of them together too.
    """
    if not _is_rotation(axes):
        return []
    rows = x.double().cpu().numpy()
    numbers = numbers_of_values(rows)
    if (numbers * ROWS_PER_VALUE <= len(rows)).mean() < MOST_COLUMNS:
        return []
    correlation = correlation_matrix(rows, "pearson")
    order = leaves_list(merge_tree(correlation)) if len(numbers) > 1 else np.array([0])
    runs = np.split(order, _even_cuts(np.log2(numbers[order]), min(levels, len(order))))
    runs.sort(key=lambda run: -np.square(correlation[run]).sum())
    runs += [order[:0]] * (levels - len(runs))
    return [axes.analysis[run] for run in runs]


def columns_of_space(space: Tensor, columns: Tensor) -> Tensor:
    """Return orthonormal directions [r, E] that span a space, given by its projector [E, E].

    Those of the columns [d, E] that lie in it, where they do; else any.
    """
    rank = round(float(space.trace()))
    inside = columns[(columns @ space - columns).norm(dim=1) < ROTATION]
    if len(inside) == rank and _are_orthonormal(inside):
        return inside
    return torch.linalg.eigh(space).eigenvectors[:, len(space) - rank :].T


def _is_rotation(axes: CategoryAxes) -> bool:
    width, dims = axes.analysis.shape
    return width == dims and _are_orthonormal(axes.analysis)


def _are_orthonormal(rows: Tensor) -> bool:
    inner = rows @ rows.T
    one = torch.eye(len(rows), dtype=inner.dtype, device=inner.device)
    return bool(((inner - one).abs() < ROTATION).all())


def _even_cuts(weights: np.ndarray, runs: int) -> np.ndarray:
    """Return where to cut logarithms of numbers [d] so that their products in runs sum up to least.

    Of cuts that are as good, early runs are the longer ones.
    """
    n = len(weights)
    product = np.append(0.0, weights.cumsum())
    least = list(product)  # logarithm of the sum for the first j, in so many runs
    begins = []  # where the last of two runs begins, of three, ..
    for used in range(1, runs):
        best = [
            min((np.logaddexp2(least[i], product[j] - product[i]), -i) for i in range(used, j))
            if j > used
            else (np.inf, 0)
            for j in range(n + 1)
        ]
        least = [total for total, _ in best]
        begins.append([-begin for _, begin in best])
    cuts = [n]
    for of_last in reversed(begins):
        cuts.append(of_last[cuts[-1]])
    return np.array(cuts[:0:-1], int)
