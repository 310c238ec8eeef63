"""Names of feature columns, as different programs leave them in HDF5 files."""

import difflib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import h5py
import numpy as np

from spinlock.errors import SpinlockError, listed
from spinlock.features.links import own_item
from spinlock.features.operator_file import NAMES

log = logging.getLogger(__name__)

MAX_COLUMNS = 1_000_000  # of a family; a file may declare any number without holding data
QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@contextmanager
def misfits_told_once() -> Iterator[None]:
    """Tell of names that do not fit once in the block, though each shard may have them."""
    told: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in told
        told.add(message)
        return new

    log.addFilter(is_new)
    try:
        yield
    finally:
        log.removeFilter(is_new)


def column_names(
    family: str,
    group: h5py.Group,
    dataset: h5py.Dataset,
    n_columns: int,
    external: bool = False,
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
    places = {place.name: place for place in named_places(group, dataset, external)}
    candidates += [(NAMES, _names(place)) for place in places.values()]
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
            "family %s: %s has %d names for %d columns%s; it is not used: without other names, "
            "columns are called %s_0, %s_1, …",
            family,
            attribute,
            len(names),
            n_columns,
            problem if names else " (is it JSON?)",
            family,
            family,
        )
    if of_another_axis:
        raise SpinlockError(
            f"{dataset.name} {dataset.shape} looks transposed: {of_another_axis}",
            where=dataset.file.filename,
            remedy="write one row per operator and one column per feature, or correct the names",
        )
    return [f"{family}_{column}" for column in range(n_columns)]


def named_places(
    group: h5py.Group, dataset: h5py.Dataset, external: bool = False
) -> list[h5py.Group | h5py.Dataset]:
    """Return what may carry the names of a family's columns: attributes, or datasets of text."""
    places = [group, dataset.parent, dataset]
    listed = [_dataset_of_names(one, external) for one in places[:2]]
    return places + [one for one in listed if one is not None]


def _dataset_of_names(group: h5py.Group, external: bool) -> h5py.Dataset | None:
    path = f"{group.name}/{NAMES}".strip("/")
    item = own_item(group.file, path, group.file.filename, external)
    if not isinstance(item, h5py.Dataset) or h5py.check_string_dtype(item.dtype) is None:
        return None
    return item if item.shape is not None and (item.size or 0) <= MAX_COLUMNS else None


def _misfit(names: Sequence[str], columns: Sequence[int], n_columns: int) -> str | None:
    """Return why names of columns do not fit, "" where their number tells; None where they do."""
    if len(names) != n_columns:
        return ""
    if list(columns) != list(range(n_columns)):
        return f", for columns that are not 0 to {n_columns - 1}"
    twice = [name for name, uses in Counter(names).items() if uses > 1]
    return f", {listed(twice)} more than once" if twice else None


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
    texts = isinstance(place, h5py.Dataset) and h5py.check_string_dtype(place.dtype) is not None
    names = place[()] if texts else place.attrs.get(NAMES)
    return None if names is None else dict(enumerate(_listed(names)))


def _listed(names: object) -> list[str]:
    if isinstance(names, bytes):
        names = names.decode(errors="replace")
    if isinstance(names, np.ndarray):
        return [
            n.decode(errors="replace") if isinstance(n, bytes) else str(n) for n in names.ravel()
        ]
    if not isinstance(names, str):
        return []
    try:
        listed = json.loads(names)
        return [str(name) for name in listed] if isinstance(listed, list) else []
    except (ValueError, RecursionError):
        # the printed form of a list or of an array of text
        return [one or other for one, other in QUOTED.findall(names)]
