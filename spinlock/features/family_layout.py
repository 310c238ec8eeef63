"""Families of features in a file: where they stand, and what they must look like."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from spinlock.errors import SpinlockError, listed
from spinlock.features.labels import dataset_paths
from spinlock.features.links import own_item
from spinlock.features.naming import MAX_COLUMNS, column_names

LAYOUT = "see docs/dataset-layout.md for what a dataset looks like"
PLACES = ("features/{}/aggregated/features", "features/{}/features")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FamilyLayout:
    """What a family looks like.

    Attributes
    ----------
    name : str
    shape : tuple
        Of one operator: (D,), or (T, D) for series.
    column_names : list of str
        D names.
    dtype : numpy dtype
    """

    name: str
    shape: tuple[int, ...]
    column_names: list[str]
    dtype: np.dtype


def find_families(file: h5py.File, path: Path, external: bool) -> dict[str, h5py.Dataset]:
    """Return name → features [N, D] or [N, T, D] of every family in a file.

    Raises
    ------
    SpinlockError
        When there is none, when one is not a table of numbers, and when they differ in N.
    """
    features = own_item(file, "features", path, external)
    if not isinstance(features, h5py.Group):
        raise SpinlockError(
            "the file has no group /features",
            where=path,
            remedy=LAYOUT,
        )
    found = {}
    for name in features:
        for place in PLACES:
            dataset = own_item(file, place.format(name), path, external)
            if isinstance(dataset, h5py.Dataset):
                found[name] = _checked(dataset, path)
                break
    if not found:
        raise _without_family(file, path)
    _check_counts(found, path)
    return found


def _without_family(file: h5py.File, path: Path) -> SpinlockError:
    inside = (one for one in dataset_paths(file) if one.startswith("features/"))
    there = [f"/{one} {file[one].shape}" for one in islice(inside, 9)]
    return SpinlockError(
        f"the file has no feature family under /features; datasets there: {listed(there)}",
        where=path,
        remedy=f"a family is numbers [N, D] at /features/<name>/features; {LAYOUT}",
    )


def warn_of_unread(file: h5py.File, families: Collection[str], where: object) -> None:
    """Tell of what stands under /features and is no family, or a second table of one."""
    unread = [f"/features/{name}" for name in file["features"] if name not in families]
    if unread:
        log.warning(
            "%s: not read: %s; a family stands at /features/<name>/features", where, listed(unread)
        )
    for name in families:
        first, second = (place.format(name) for place in PLACES)
        if first in file and file.get(second, getlink=True):
            log.warning("%s: not read: /%s; the family is read from /%s", where, second, first)


def layout_of(
    name: str, file: h5py.File, dataset: h5py.Dataset, external: bool = False
) -> FamilyLayout:
    """Return what the family of a dataset looks like, as it is read: whole numbers as float64."""
    names = column_names(name, file[f"features/{name}"], dataset, dataset.shape[-1], external)
    dtype = dataset.dtype if dataset.dtype.kind == "f" else np.dtype(np.float64)
    return FamilyLayout(name, dataset.shape[1:], names, dtype)


def _check_counts(families: dict[str, h5py.Dataset], path: Path) -> None:
    counts = {name: dataset.shape[0] for name, dataset in families.items()}
    if len(set(counts.values())) > 1:
        raise SpinlockError(
            f"the families have different numbers of operators: {counts}",
            where=path,
            remedy="every family needs one row per operator, in the same order",
        )


def _checked(dataset: h5py.Dataset, path: Path) -> h5py.Dataset:
    if dataset.dtype.kind not in "fiub":
        raise SpinlockError(
            f"{dataset.name} holds {dataset.dtype}, not numbers", where=path, remedy=LAYOUT
        )
    if dataset.ndim not in (2, 3):
        raise SpinlockError(
            f"{dataset.name} has shape {dataset.shape}; features are [N, D] or [N, T, D]",
            where=path,
            remedy=LAYOUT,
        )
    if 0 in dataset.shape:
        raise SpinlockError(
            f"{dataset.name} is empty: shape {dataset.shape}", where=path, remedy=LAYOUT
        )
    if dataset.shape[-1] > MAX_COLUMNS:
        raise SpinlockError(
            f"{dataset.name} has {dataset.shape[-1]:,} columns, more than {MAX_COLUMNS:,}",
            where=path,
            remedy=LAYOUT,
        )
    return dataset
