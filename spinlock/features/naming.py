"""Names of feature columns, as different programs leave them in HDF5 files."""

import difflib
import json
import logging
import re
from collections.abc import Sequence

import h5py
import numpy as np

from spinlock.errors import SpinlockError

log = logging.getLogger(__name__)

QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def column_names(
    family: str, group: h5py.Group, dataset: h5py.Dataset, n_columns: int
) -> list[str]:
    """Return the names of a family's columns.

    The attribute `feature_registry` of the group, JSON {category: {name: column}}; else
    `feature_names` of the group, its aggregate or the dataset, an attribute or a dataset in the
    group; else `<family>_<column>`. Names that do not fit the columns are passed over with one
    warning.

    Raises
    ------
    SpinlockError
        When names fit another axis than that of the columns.
    """
    candidates = [("feature_registry", _registry(group))]
    places = {place.name: place for place in (group, dataset.parent, dataset)}
    candidates += [("feature_names", _names(place)) for place in places.values()]
    of_another_axis = None
    for attribute, found in candidates:
        if found is None:
            continue
        names = [_encodable(found[column]) for column in sorted(found)]
        problem = _misfit(names, sorted(found), n_columns)
        if problem is None:
            return names
        if len(names) != n_columns and len(names) in dataset.shape:
            of_another_axis = f"{attribute} has {len(names)} names"
        log.warning(
            "family %s: %s has %d names for %d columns%s; it is not used",
            family,
            attribute,
            len(names),
            n_columns,
            problem,
        )
    if of_another_axis:
        raise SpinlockError(
            f"{dataset.name} {dataset.shape} looks transposed: {of_another_axis}",
            where=dataset.file.filename,
            remedy="write one row per operator and one column per feature, or correct the names",
        )
    return [f"{family}_{column}" for column in range(n_columns)]


def _misfit(names: Sequence[str], columns: Sequence[int], n_columns: int) -> str | None:
    """Return why names of columns do not fit, "" where their number tells; None where they do."""
    if len(names) != n_columns:
        return ""
    if list(columns) != list(range(n_columns)):
        return f", for columns that are not 0 to {n_columns - 1}"
    different = len(set(names))
    return None if different == n_columns else f", {different} of them different"


def nearest_names(wanted: str, names: Sequence[str]) -> str:
    """Return what to name instead of a feature that is not among `names`."""
    near = difflib.get_close_matches(wanted, names, n=3)
    return f"nearest features: {', '.join(near)}" if near else "name it family/feature"


def _encodable(name: str) -> str:
    """Return a name with "?" for halves of characters, which JSON can hold and no file can."""
    return name.encode(errors="replace").decode()


def _registry(group: h5py.Group) -> dict[int, str] | None:
    """Return column → name, empty where nobody can read it, None where there is none."""
    text = group.attrs.get("feature_registry")
    if text is None:
        return None
    try:
        registry = json.loads(text)
        return {
            int(column): f"{category}/{name}"
            for category, names in registry.items()
            for name, column in names.items()
        }
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


def _names(place: h5py.Group | h5py.Dataset) -> dict[int, str] | None:
    """Return what `_registry` does, of a list."""
    names = place.attrs.get("feature_names")
    return None if names is None else dict(enumerate(_listed(names)))


def _listed(names: object) -> list[str]:
    if isinstance(names, bytes):
        names = names.decode(errors="replace")
    if isinstance(names, np.ndarray):
        return [n.decode(errors="replace") if isinstance(n, bytes) else str(n) for n in names]
    if not isinstance(names, str):
        return []
    try:
        listed = json.loads(names)
        return [str(name) for name in listed] if isinstance(listed, list) else []
    except (ValueError, RecursionError):
        # the printed form of a list or of an array of text
        return [one or other for one, other in QUOTED.findall(names)]
