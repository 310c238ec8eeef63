"""Datasets of operators in HDF5: the only reader of the layout (docs/dataset-layout.md)."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from spinlock.errors import SpinlockError, listed
from spinlock.features.family_layout import (
    LAYOUT,
    FamilyLayout,
    find_families,
    layout_of,
    warn_of_unread,
)
from spinlock.features.hdf5 import damage_told, read_text
from spinlock.features.labels import dataset_paths, is_label, read_label
from spinlock.features.links import own_item
from spinlock.features.naming import misfits_told_once, named_places
from spinlock.settings.dataset import join_command

DIGEST_ROWS = 4096
FIELD_ROWS = 256


class OperatorDataset(AbstractContextManager):
    """One dataset, in one file or in several shards that follow one another.

    Parameters
    ----------
    paths : sequence of Path
    external : bool
        Whether links to other files, and data that stands in them, are followed.

    Attributes
    ----------
    families : dict
        Name → FamilyLayout.
    n_operators : int
    """

    def __init__(self, paths: Sequence[Path], external: bool = False):
        self._paths = list(paths)
        self._external = external
        self._files: list[h5py.File] = []
        try:
            with damage_told(self.where):
                for path in paths:
                    self._files.append(_open(path))
                self._data = [
                    find_families(f, p, external) for f, p in zip(self._files, paths, strict=True)
                ]
                warn_of_unread(self._files[0], self._data[0], self.where)
                self._counts = [len(next(iter(data.values()))) for data in self._data]
                self.families = read_text(self._common_layout, self.where, self._named_places())
        except BaseException:
            self.close()
            raise
        self._ends = np.cumsum(self._counts)
        self.n_operators = int(self._ends[-1])

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    @property
    def where(self) -> str:
        """The files, for messages."""
        first = str(self._paths[0])
        return first if len(self._paths) == 1 else f"{first} and {len(self._paths) - 1} more"

    @property
    def attributes(self) -> dict[str, object]:
        """Attributes of /metadata of the first file."""
        with damage_told(self.where):
            group = self._files[0].get("metadata")
            if group is None:
                return {}
            return read_text(lambda: dict(group.attrs), self._paths[0], [group])

    @property
    def grid(self) -> tuple[int, int] | None:
        """Points of the initial fields along their two axes; None where there are no fields."""
        fields = self.fields(slice(0, 0))
        return None if fields is None else fields.shape[-2:]

    def require(self, families: Sequence[str]) -> None:
        """Check that the dataset has these families.

        Raises
        ------
        SpinlockError
            When it lacks one; the message lists those that are there.
        """
        missing = [name for name in families if name not in self.families]
        if missing:
            raise SpinlockError(
                f"the dataset has no family {', '.join(missing)}",
                where=self.where,
                remedy=f"families that are there: {', '.join(self.families) or 'none'}",
            )

    def read(self, family: str, rows: slice | np.ndarray) -> np.ndarray:
        """Return a family's values [n, ...] of rows; row arrays must ascend.

        Whole numbers are read as float64.
        """
        values = self._gather([data[family] for data in self._data], rows)
        return values.astype(self.families[family].dtype, copy=False)

    def fields(self, rows: slice | np.ndarray) -> np.ndarray | None:
        """Return the initial fields of rows, [n, C, H, W] or with realizations; None if absent."""
        parts = self._items("inputs/fields")
        if not all(isinstance(part, h5py.Dataset) for part in parts):
            return None
        for part, path, count in zip(parts, self._paths, self._counts, strict=True):
            with damage_told(path, "/inputs/fields"):
                part.dtype  # noqa: B018 - of a damaged type, h5py first complains here
            numbers = part.shape is not None and part.dtype.kind in "fiub"
            if not numbers or part.ndim < 3 or len(part) != count or 0 in part.shape:
                raise SpinlockError(
                    f"/inputs/fields holds {part.dtype} {part.shape}; "
                    f"it should be numbers [{count}, C, H, W]",
                    where=path,
                    remedy=LAYOUT,
                )
            if part.shape[1:] != parts[0].shape[1:]:
                raise SpinlockError(
                    f"the initial fields of each operator have shape {part.shape[1:]}, and "
                    f"{parts[0].shape[1:]} in {self._paths[0]}",
                    where=path,
                    remedy="fields of one dataset have one size",
                )
        return self._gather(parts, rows)

    def labels(self, path: str, rows: slice | np.ndarray | None = None) -> np.ndarray:
        """Return a label of every operator, as text or integers.

        Raises
        ------
        SpinlockError
            When there is no such dataset of one value per operator.
        """
        name = path.strip("/")
        parts = self._items(name)
        if name not in self.label_paths:
            with damage_told(self.where, f"/{name}"):
                held = [f"{p.dtype} {p.shape}" for p in parts if isinstance(p, h5py.Dataset)]
            raise SpinlockError(
                f"the dataset has no label /{name} with one text or whole number per operator"
                + (f": it holds {held[0]}" if held else ""),
                where=self.where,
                remedy="labels are whole numbers or text of shape [N]; "
                f"those that are there: {', '.join(self.label_paths) or 'none'}",
            )
        with damage_told(self.where, f"/{name}"):
            labels = np.concatenate(
                read_text(lambda: [read_label(part) for part in parts], self.where, parts)
            )
        if labels.dtype == object:  # text in one shard, numbers in another
            labels = np.array([str(label) for label in labels], object)
        return labels if rows is None else labels[rows]

    @cached_property
    def label_paths(self) -> list[str]:
        """The datasets with one text or whole number per operator."""
        with damage_told(self.where):
            return sorted(
                name
                for name in dataset_paths(self._files[0])
                if all(
                    is_label(file.get(name), count, self._external)
                    for file, count in zip(self._files, self._counts, strict=True)
                )
            )

    def digest(self, *, fields: bool = False) -> str:
        """Return the SHA-256 of names and values; the same for one file and for its shards.

        Of features, and with `fields` of the initial fields as well; labels are not in it.
        """
        digest = hashlib.sha256()
        for name, layout in sorted(self.families.items()):
            header = [name, layout.shape, layout.column_names, layout.dtype.str, self.n_operators]
            digest.update(json.dumps(header).encode())
            for first in range(0, self.n_operators, DIGEST_ROWS):
                rows = slice(first, min(first + DIGEST_ROWS, self.n_operators))
                digest.update(np.ascontiguousarray(self.read(name, rows)).tobytes())
        starts = range(0, self.n_operators, FIELD_ROWS) if fields else ()
        for first in starts:
            block = self.fields(slice(first, first + FIELD_ROWS))
            if block is not None:
                digest.update(f"{block.dtype.str} {block.shape[1:]}".encode())
                digest.update(np.ascontiguousarray(block).tobytes())
        return digest.hexdigest()

    def _named_places(self) -> Iterator[h5py.Group | h5py.Dataset]:
        """Give what may carry names of columns."""
        for file, data in zip(self._files, self._data, strict=True):
            for name, dataset in data.items():
                yield from named_places(file[f"features/{name}"], dataset, self._external)

    def _items(self, name: str) -> list[h5py.Group | h5py.Dataset | None]:
        with damage_told(self.where, f"/{name}"):
            return [
                own_item(file, name, path, self._external)
                for file, path in zip(self._files, self._paths, strict=True)
            ]

    def _gather(self, parts: Sequence[h5py.Dataset], rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.n_operators))
        if len(rows) and (rows[0] < 0 or rows[-1] >= self.n_operators):
            raise SpinlockError(
                f"rows {rows[0]}..{rows[-1]} are outside the {self.n_operators} operators",
                where=self.where,
                remedy="give rows that the dataset has",
            )
        blocks = []
        for part, end, count in zip(parts, self._ends, self._counts, strict=True):
            inside = rows[(rows >= end - count) & (rows < end)] - (end - count)
            if len(inside):
                # reading the span and choosing from it is far faster than h5py's own choosing
                span = _read(part, slice(inside[0], inside[-1] + 1))
                blocks.append(span[inside - inside[0]])
        if blocks:
            return np.concatenate(blocks)
        return np.empty((0, *parts[0].shape[1:]), parts[0].dtype)

    def _common_layout(self) -> dict[str, FamilyLayout]:
        with misfits_told_once():
            layouts = [
                {name: layout_of(name, file, one, self._external) for name, one in data.items()}
                for file, data in zip(self._files, self._data, strict=True)
            ]
        for path, layout in zip(self._paths[1:], layouts[1:], strict=True):
            if layout != layouts[0]:
                raise SpinlockError(
                    "the shards of the dataset differ in families, columns or types",
                    where=f"{self._paths[0]} and {path}",
                    remedy="generate them from one configuration",
                )
        return layouts[0]


def open_dataset(paths: Path | str | Sequence[Path], *, external: bool = False) -> OperatorDataset:
    """Open a dataset: one file, or shards in order.

    Links to other files are refused unless `external` allows them: a file from elsewhere could
    otherwise make you publish what only you can read.

    Raises
    ------
    SpinlockError
        When a file is missing, damaged, or not in the layout, and where there is none.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not given:
        raise SpinlockError(
            "there is no file of the dataset", remedy="name one; `make run` simulates one"
        )
    return OperatorDataset([Path(path) for path in given], external)


def is_dataset(path: Path) -> bool:
    """Return whether `open_dataset` can open a file."""
    try:
        open_dataset(path).close()
    except SpinlockError:
        return False
    return True


def _instead_of_folder(path: Path) -> str:
    """Return what to give instead of a folder: what is in it, or one file of its shards."""
    if any(path.glob("shard_*.h5")):
        whole = path.resolve().with_suffix(".h5").name
        command = join_command(f"{path}/shard_*.h5", str(path.parent / whole))
        return (
            "give the file; commands take shards in order, an experiment one file that joins "
            f"them: `{command}`"
        )
    return f"give a file; there are: {listed(sorted(map(str, path.glob('*.h5'))))}"


def _open(path: Path) -> h5py.File:
    if not os.path.exists(path):  # noqa: PTH110 - pathlib raises for names that are too long
        raise SpinlockError(
            "the dataset does not exist",
            where=path,
            remedy=f"check the path, which starts at {Path.cwd()}, or generate the dataset",
        )
    if path.is_dir():
        raise SpinlockError(
            "this is a folder, not an HDF5 file",
            where=path,
            remedy=_instead_of_folder(path),
        )
    if not path.is_file():  # to open a pipe would wait for who writes into it
        raise SpinlockError(
            "this is no regular file", where=path, remedy="give an HDF5 file, or its shards"
        )
    try:
        return h5py.File(path, "r")
    except PermissionError as error:
        raise SpinlockError(
            "the dataset may not be read: permission denied",
            where=path,
            remedy="ask its owner for the right to read it",
        ) from error
    except BlockingIOError as error:
        raise SpinlockError(
            "the dataset is open in another program, which may be writing it",
            where=path,
            remedy="wait until it has closed the file",
        ) from error
    except OSError as error:
        problem = "is not an HDF5 file" if not h5py.is_hdf5(path) else "is truncated or damaged"
        raise SpinlockError(
            f"the dataset {problem} ({str(error).split('(')[-1].rstrip(')')})",
            where=path,
            remedy="copy or generate it again; of a table in text, make one as “Write one” in "
            "docs/dataset-layout.md does",
        ) from error


def _read(dataset: h5py.Dataset, rows: slice) -> np.ndarray:
    with damage_told(dataset.file.filename, dataset.name):
        return dataset[rows]
