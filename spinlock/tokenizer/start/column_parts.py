"""Parts of a category's columns, one for each level, where columns take few values.

Of counts, grades or classes, few columns together take so few combinations of values that a book
can hold them all: levels that tell a part of the columns each (Jégou, Douze & Schmid, 2011, IEEE
TPAMI 33(1), "Product quantization") then tell them without an error, where residuals of all
columns, of any size, never come to an end.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.cluster.hierarchy import leaves_list
from torch import Tensor

from spinlock.tokenizer.categories.clustering import correlation_matrix, merge_tree
from spinlock.tokenizer.start.category_axes import CategoryAxes

ROWS_SEEN = 5000  # that values are counted in and columns compared on, at most
ROWS_PER_VALUE = 4  # on average, of a column that takes few
MOST_COLUMNS = 0.5  # of a category's, that take few
ROTATION = 1e-4  # that an inner product of two axes may be off, by rounding

Parts = list[list[Tensor]]  # of each category: projectors on what its levels would tell, or none


def parts_of_categories(
    x: Tensor, partition: Sequence[Sequence[int]], axes: Sequence[CategoryAxes], levels: int
) -> Parts:
    """Return the parts of each category of the columns of rows x [n, D]."""
    seen = x[:: -(-len(x) // ROWS_SEEN)]
    return [
        column_parts(seen[:, list(members)], one, levels)
        for one, members in zip(axes, partition, strict=True)
    ]


def column_parts(x: Tensor, axes: CategoryAxes, levels: int) -> list[Tensor]:
    """Return the part of the embedding that each level would tell, as an orthogonal projector.

    The parts are runs of alike columns, those first that say most of all the columns. There are
    none where most columns take many values, where there are fewer columns than levels, or where
    the embedding is no rotation of them: parts of columns would not be apart in it.

    Parameters
    ----------
    x : Tensor [n, d]
        Rows of the category's columns.
    axes : CategoryAxes
    levels : int

    Returns
    -------
    list [L] of Tensor [E, E], or of none
    """
    n_columns = x.shape[1]
    if n_columns < levels or not _is_rotation(axes):
        return []
    rows = x.double().cpu().numpy()
    if _few_values(rows).mean() < MOST_COLUMNS:
        return []
    correlation = correlation_matrix(rows, "pearson")
    runs = np.array_split(leaves_list(merge_tree(correlation)), levels)
    runs.sort(key=lambda run: -np.square(correlation[run]).sum())
    return [axes.analysis[run].T @ axes.analysis[run] for run in runs]


def _is_rotation(axes: CategoryAxes) -> bool:
    width, dims = axes.analysis.shape
    if width != dims:
        return False
    inner = axes.analysis @ axes.analysis.T
    one = torch.eye(width, dtype=inner.dtype, device=inner.device)
    return bool((inner - one).abs().max() < ROTATION)


def _few_values(x: np.ndarray) -> np.ndarray:
    """Return which columns [d] of rows x [n, d] take few values."""
    ascending = np.sort(x, axis=0)
    distinct = 1 + (ascending[1:] != ascending[:-1]).sum(axis=0)
    return distinct * ROWS_PER_VALUE <= len(x)
