"""Rows that are repeated: on another side of the split they are no unseen rows."""

import numpy as np

from spinlock.features.split import TRAIN


def row_keys(values: np.ndarray) -> np.ndarray:
    """Return what tells rows [n, D] apart, int64 [n]: the same of rows that have the same values.

    It is a hash: rows that differ have the same one with a chance of one in 10¹⁹.
    """
    # −0 + 0 is 0
    return np.array([hash((row + 0.0).tobytes()) for row in values], np.int64)


def repeated_rows(keys: np.ndarray, split: np.ndarray) -> tuple[int, int]:
    """Return how many rows repeat an earlier one, and how many not of train repeat one of train.

    Parameters
    ----------
    keys : int64 array [n]
        Of `row_keys`.
    split : int array [n]
        Side of every row.
    """
    repeats = len(keys) - len(np.unique(keys))
    train = split == TRAIN
    return repeats, int(np.isin(keys[~train], keys[train]).sum())
