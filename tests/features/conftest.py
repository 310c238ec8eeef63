"""HDF5 files in a temporary folder: any, and datasets of operators."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.features.operator_file import OperatorFileWriter

SUMMARY = "features/summary/aggregated/features"
TEMPORAL = "features/temporal/features"


@pytest.fixture
def write_h5(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes datasets, links and attributes to a file, by their paths."""

    def write(
        contents: Mapping[str, object],
        attributes: Mapping[str, Mapping[str, object]] | None = None,
        name: str = "data.h5",
    ) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for place, values in contents.items():
                texts = isinstance(values, list) and isinstance(values[0], str)
                file[place] = np.array(values, dtype=h5py.string_dtype()) if texts else values
            for place, pairs in (attributes or {}).items():
                file.require_group(place) if place not in file else None
                file[place].attrs.update(pairs)
        return path

    return write


@pytest.fixture(scope="session")
def values() -> Callable[..., dict[str, object]]:
    """Return a function that gives the contents of a dataset of so many operators, by path."""

    def make(n_rows: int = 10) -> dict[str, object]:
        rng = np.random.default_rng(0)
        summary = rng.normal(size=(n_rows, 4)).astype(np.float32)
        summary[::3, 1] = np.nan
        summary[1::3, 2] = -np.inf
        return {
            SUMMARY: summary,
            TEMPORAL: rng.normal(size=(n_rows, 6, 3)).astype(np.float32),
            "inputs/fields": rng.normal(size=(n_rows, 2, 8, 8)).astype(np.float32),
            "metadata/system": np.arange(n_rows) % 3,
            "metadata/kind": [f"kind {i % 2} ✓" for i in range(n_rows)],
        }

    return make


@pytest.fixture
def shards(write_h5) -> Callable[..., list[Path]]:
    """Return a function that cuts contents into files at the given rows."""

    def write(contents: dict, cuts: list[int], attributes: dict | None = None) -> list[Path]:
        edges = [0, *cuts, len(contents[SUMMARY])]
        return [
            write_h5(
                {place: array[first:last] for place, array in contents.items()},
                attributes,
                name=f"shard_{first}.h5",
            )
            for first, last in pairwise(edges)
        ]

    return write


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """Return a function that checks that opening is refused, in words that name the file."""

    def check(path: Path, *said: str) -> str:
        with pytest.raises(SpinlockError) as caught:
            open_dataset(path)
        for words in (str(path), *said):
            assert words in str(caught.value)
        return str(caught.value)

    return check


@pytest.fixture(scope="session")
def read_all() -> Callable[..., tuple]:
    """Return a function that reads a family, the fields and a label of a dataset."""

    def read(path: Path, **options: bool) -> tuple:
        with open_dataset(path, **options) as source:
            family = source.read("summary", slice(None))
            return family, source.fields(slice(None)), source.labels("metadata/system")

    return read


@pytest.fixture(scope="session")
def operators() -> Callable[[int], dict[str, np.ndarray]]:
    """Return a function that gives what is written of so many operators, by path."""

    def make(n_rows: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        return {
            "features/summary/aggregated/features": rng.normal(size=(n_rows, 3)).astype(np.float32),
            "features/architecture/aggregated/features": rng.normal(size=(n_rows, 2)),
            "features/temporal/features": rng.normal(size=(n_rows, 4, 2)).astype(np.float32),
            "inputs/fields": rng.normal(size=(n_rows, 1, 8, 8)).astype(np.float32),
            "parameters/vectors": rng.normal(size=(n_rows, 3)).astype(np.float32),
            "metadata/diverged": np.arange(n_rows, dtype=np.uint8) % 2,
            "metadata/kind": np.array([f"kind {'x' * (i % 5)} ✓" for i in range(n_rows)]),
        }

    return make


@pytest.fixture(scope="session")
def write_operators(operators) -> Callable[[Path, slice], Path]:
    """Return a function that writes some of 300 operators to a file of their own, by blocks."""

    def write(path: Path, rows: slice, step: int = 50) -> Path:
        whole = {name: values[rows] for name, values in operators(300).items()}
        count = rows.stop - rows.start
        with h5py.File(path, "w") as file:
            writer = OperatorFileWriter(file, count, {"random_seed": 1, "grid_size": 8})
            for first in range(0, count, step):
                writer.write(first, {name: v[first : first + step] for name, v in whole.items()})
            names = {
                "summary": ["energy/mean", "energy/deviation", "shape/mean"],
                "architecture": ["depth", "width"],
            }
            writer.describe(names, ["gain", "damping", "noise"])
        return path

    return write
