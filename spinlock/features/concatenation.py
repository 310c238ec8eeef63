"""Joining shards of one dataset into one file, in the layout of docs/dataset-layout.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.features.hdf5 import damage_told, read_text
from spinlock.features.links import items, stands_outside
from spinlock.features.operator_file import COPIED_ROWS, NAMES, OperatorFileWriter


def concatenate(shards: Sequence[Path], output: h5py.File) -> None:
    """Copy shards of one dataset into one file, rows in the order of the shards.

    A dataset has a type that holds the values of all shards; links within a shard become what
    they lead to. Attributes, and datasets without one row per operator, are those of the first
    shard.

    Raises
    ------
    SpinlockError
        When the shards do not hold the same datasets, or of other types or shapes.
    """
    with damage_told(shards[0]), h5py.File(shards[0], "r") as file:
        names = _dataset_names(file)
    counts, kinds = zip(*(_sound_rows(path, names) for path in shards), strict=True)
    by_row = [name for name in names if all(name in found for found in kinds)]
    writer = OperatorFileWriter(output, sum(counts))
    for name in by_row:
        dtype, shape = _common_kind(name, [found[name] for found in kinds], shards)
        writer.create(name, shape, dtype, counts[0])
    first = 0
    for path, count in zip(shards, counts, strict=True):
        with damage_told(path), h5py.File(path, "r") as file:
            for start in range(0, count, COPIED_ROWS):
                stop = min(start + COPIED_ROWS, count)
                writer.write(first + start, {name: file[name][start:stop] for name in by_row})
            first += count
    with damage_told(shards[0]), h5py.File(shards[0], "r") as file:
        for name in sorted(set(names) - set(by_row)):
            file.copy(name, output, name)
        for name in _described(file):
            place = output[name] if name in output else output.create_group(name)
            place.attrs.update(file[name].attrs)


class _Kind(NamedTuple):
    """What a dataset holds of each operator."""

    dtype: np.dtype
    shape: tuple[int, ...]


def _common_kind(name: str, kinds: Sequence[_Kind], shards: Sequence[Path]) -> _Kind:
    """Return what holds a dataset of all shards; texts of different kinds have any length."""
    first, texts = kinds[0], [h5py.check_string_dtype(kind.dtype) for kind in kinds]
    for kind, text, path in zip(kinds, texts, shards, strict=True):
        if kind.shape != first.shape or (text is None) != (texts[0] is None):
            raise SpinlockError(
                f"/{name} holds {kind.dtype} {kind.shape} of each operator, and {first.dtype} "
                f"{first.shape} in {shards[0]}",
                where=path,
                remedy="join shards whose datasets are alike",
            )
    dtypes = [kind.dtype for kind in kinds]
    if len(set(texts)) == 1 and all(dtype == dtypes[0] for dtype in dtypes):
        return first
    common = np.result_type(*dtypes) if texts[0] is None else h5py.string_dtype()
    if common.kind == "f" and all(dtype.kind in "iu" for dtype in dtypes):
        listed = ", ".join(sorted({str(dtype) for dtype in dtypes}))
        raise SpinlockError(
            f"/{name} holds {listed}, which no type of whole numbers holds together",
            where=shards[0],
            remedy="write it with one type in all shards",
        )
    return _Kind(common, first.shape)


def _sound_rows(path: Path, names: list[str]) -> tuple[int, dict[str, _Kind]]:
    """Return how many rows a shard has, and which datasets do, when all of its text can be read."""
    with open_dataset(path) as source:
        count = source.n_operators
    with damage_told(path), h5py.File(path, "r") as file:
        if _dataset_names(file) != names:
            raise SpinlockError(
                "the shards of the dataset hold different arrays",
                where=path,
                remedy="generate all of them from one configuration",
            )
        described = [file[name] for name in _described(file)]
        texts = [file[name] for name in names if file[name].dtype.hasobject]
        read_text(
            lambda: [*[dict(one.attrs) for one in described], *[text[()] for text in texts]],
            path,
            [*described, *texts],
        )
        by_row = [
            name
            for name in names
            if (file[name].shape or ())[:1] == (count,) and not name.endswith(f"/{NAMES}")
        ]
        return count, {name: _Kind(file[name].dtype, file[name].shape[1:]) for name in by_row}


def _dataset_names(file: h5py.File) -> list[str]:
    """Return the paths of the datasets whose values stand in the file itself."""
    return sorted(
        name
        for name, item in items(file)
        if isinstance(item, h5py.Dataset) and not stands_outside(item, file)
    )


def _described(file: h5py.File) -> list[str]:
    """Return the paths of what has attributes, and stands in the file itself."""
    places = {"/": file, **dict(items(file))}
    return sorted(
        name for name, item in places.items() if len(item.attrs) and not stands_outside(item, file)
    )
