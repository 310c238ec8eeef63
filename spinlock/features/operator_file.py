"""Writing operator datasets in HDF5: the only writer of the layout (docs/dataset-layout.md)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.features.hdf5 import damage_told, read_text
from spinlock.features.links import items, stands_outside
from spinlock.features.naming import NAMES

LAYOUT_VERSION = "1.0"
COPIED_ROWS = 256


class OperatorFileWriter:
    """Write operators block by block into an open HDF5 file.

    The file carries no time of writing: the same operators make the same bytes.

    Parameters
    ----------
    file : h5py.File
        Open for writing.
    n_operators : int
        Rows that every dataset gets.
    config : mapping, optional
        What made the operators; kept as JSON in /metadata.
    """

    def __init__(
        self, file: h5py.File, n_operators: int, config: Mapping[str, object] | None = None
    ):
        self._file = file
        self._n_operators = n_operators
        if config is None:
            return
        metadata = file.create_group("metadata")
        metadata.attrs["config"] = json.dumps(config, sort_keys=True)
        metadata.attrs["version"] = LAYOUT_VERSION

    def write(self, first: int, blocks: Mapping[str, np.ndarray]) -> None:
        """Write arrays [m, ...] to rows first..first+m of the datasets named by their paths."""
        for name, values in blocks.items():
            if name not in self._file:
                dtype = h5py.string_dtype() if values.dtype.kind in "UO" else values.dtype
                self.create(name, values.shape[1:], dtype, len(values))
            place = self._file[name]
            if h5py.check_vlen_dtype(place.dtype):  # lists of one length would go for an array
                for i, row in enumerate(values, first):
                    place[i] = row
            else:
                place[first : first + len(values)] = values

    def create(self, name: str, shape: tuple[int, ...], dtype: np.dtype, block: int) -> None:
        """Make the dataset of a path, of `shape` for each operator, to be written by blocks."""
        rows = min(block, COPIED_ROWS, self._n_operators)
        self._file.create_dataset(
            name,
            shape=(self._n_operators, *shape),
            dtype=dtype,
            chunks=None if 0 in shape else (rows, *shape),
            track_times=False,
        )

    def describe(
        self, families: Mapping[str, Sequence[str]], parameters: Sequence[str] = ()
    ) -> None:
        """Name the columns of feature families and of the parameter vectors.

        Names like energy/mean become a registry {energy: {mean: column}}, others a plain list.

        Parameters
        ----------
        families : mapping
            Family → names of its columns.
        parameters : sequence of str
        """
        for family, names in families.items():
            group = self._file[f"features/{family}"]
            if all("/" in name for name in names):
                group.attrs["feature_registry"] = json.dumps(_registry(names))
            else:
                group.attrs[NAMES] = list(names)
        if parameters:
            self._file["parameters/vectors"].attrs["dimension_names"] = list(parameters)


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


def _registry(names: Sequence[str]) -> dict[str, dict[str, int]]:
    registry: dict[str, dict[str, int]] = {}
    for column, name in enumerate(names):
        category, short = name.split("/", 1)
        registry.setdefault(category, {})[short] = column
    return registry


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
    return sorted(
        name for name, item in items(file) if len(item.attrs) and not stands_outside(item, file)
    )
