"""Labels of operators: datasets of a file with one text or whole number per operator."""

from collections.abc import Iterator

import h5py
import numpy as np

from spinlock.features.links import items, stands_outside


def dataset_paths(file: h5py.File) -> Iterator[str]:
    """Give the path of every dataset of a file: one for each name that it has there."""
    return (name for name, item in items(file) if isinstance(item, h5py.Dataset))


def is_label(item: object, n_operators: int, external: bool) -> bool:
    """Return whether an item of a file holds one text or whole number per operator."""
    if not isinstance(item, h5py.Dataset) or item.shape != (n_operators,):
        return False
    if not external and stands_outside(item, item.file):
        return False
    return item.dtype.kind in "iub" or h5py.check_string_dtype(item.dtype) is not None


def read_label(dataset: h5py.Dataset) -> np.ndarray:
    """Return the values of a label: texts as objects, so that a long one makes no others long.

    Bytes that are no UTF-8, or no character, are replaced.
    """
    if h5py.check_string_dtype(dataset.dtype) is None:
        return dataset[:]
    texts = dataset.asstr(errors="replace")[:]
    return np.array([text.replace("\0", "\ufffd") for text in texts], object)
