"""The subset of an experiment: a 2-D table of feature columns in one HDF5 file."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import h5py
import numpy as np

from spinlock.errors import SpinlockError
from spinlock.features.hdf5 import damage_told, read_text

FORMAT = "spinlock-subset-1"
ROW_BLOCK = 2048
COLUMN_BLOCK = 64


class Column(NamedTuple):
    """A feature column: the family it belongs to and its name there."""

    family: str
    name: str

    @property
    def full_name(self) -> str:
        """Family and name, unique in a table."""
        return f"{self.family}/{self.name}"


@dataclass(frozen=True)
class Series:
    """How a family of series stands in the table: `coefficients` columns for each channel."""

    steps: int
    coefficients: int
    channels: list[str]


@dataclass(frozen=True)
class TableHeader:
    """What describes a table apart from its numbers.

    Attributes
    ----------
    columns : list of Column
    source_digest : str
        Digest of the dataset's content.
    series : dict
        Family name → how its series stand in the columns.
    """

    columns: list[Column]
    source_digest: str
    series: dict[str, Series] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the header as JSON text."""
        return json.dumps(
            {
                "columns": self.columns,
                "source_digest": self.source_digest,
                "series": {name: vars(series) for name, series in self.series.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a header that `to_json` wrote."""
        entries = json.loads(text)
        columns = [Column(*column) for column in entries["columns"]]
        names = ["/".join(column) for column in columns]
        if len(set(names)) < len(names):
            raise ValueError("a column stands twice")
        "".join(names).encode()  # halves of characters, which JSON can hold and no file can
        return cls(
            columns=columns,
            source_digest=entries["source_digest"],
            series={name: Series(**series) for name, series in entries["series"].items()},
        )


class TableWriter:
    """Write a table row block by row block into an open HDF5 file.

    Parameters
    ----------
    file : h5py.File
        Open for writing.
    header : TableHeader
    row_ids : int array [n]
        Row of each operator in the dataset.
    split : int8 array [n]
        0 train, 1 validation, 2 test.
    dtype : numpy dtype
        Of the values.
    """

    def __init__(
        self,
        file: h5py.File,
        header: TableHeader,
        row_ids: np.ndarray,
        split: np.ndarray,
        dtype: np.dtype,
    ):
        n_rows, n_columns = len(row_ids), len(header.columns)
        self._file = file
        file.attrs["format"] = np.bytes_(FORMAT)  # text of fixed length is read without a trial
        file.create_dataset("header", data=np.bytes_(header.to_json()), track_times=False)
        file.create_dataset("row_ids", data=row_ids.astype(np.int64), track_times=False)
        file.create_dataset("split", data=split.astype(np.int8), track_times=False)
        self._values = file.create_dataset(
            "values",
            shape=(n_rows, n_columns),
            dtype=dtype,
            chunks=(min(ROW_BLOCK, n_rows), min(COLUMN_BLOCK, n_columns)),
            track_times=False,
        )

    def write(self, first: int, values: np.ndarray) -> None:
        """Write `values` [m, D] to rows first..first+m."""
        self._values[first : first + len(values)] = values

    def write_account(self, account: Mapping[str, Any]) -> None:
        """Keep what was left out or filled when the table was made."""
        self._file.create_dataset("account", data=np.bytes_(json.dumps(account)), track_times=False)

    def write_labels(self, name: str, labels: np.ndarray) -> None:
        """Keep a label [n] of every row under the name that it has in the dataset."""
        if labels.dtype.kind in "UO":
            labels = labels.astype(h5py.string_dtype())
        self._file.create_dataset(f"labels/{name.strip('/')}", data=labels, track_times=False)

    def write_fields(self, first: int, fields: np.ndarray, n_rows: int) -> None:
        """Write initial fields [m, C, H, W] to rows first..first+m of `n_rows`."""
        if "fields" not in self._file:
            self._file.create_dataset(
                "fields",
                shape=(n_rows, *fields.shape[1:]),
                dtype=np.float32,
                chunks=(min(64, n_rows), *fields.shape[1:]),
                track_times=False,
            )
        self._file["fields"][first : first + len(fields)] = fields


class FeatureTable(AbstractContextManager):
    """The rows of an experiment, read from `subset.h5`.

    Attributes
    ----------
    header : TableHeader
        The description that a model keeps of the table it was fitted on.
    columns : list of Column
    n_rows : int
    split : int8 array [n]
        0 train, 1 validation, 2 test.
    row_ids : int64 array [n]
    source_digest : str
    series : dict
        Family name → Series.
    account : dict
        What was left out or filled when the table was made.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise SpinlockError(
                "this is not a subset file: there is none",
                where=path,
                remedy="make it with the stage `subset`",
            )
        try:
            self._file = h5py.File(self.path, "r")
            texts = [self._file, self._file["header"]]
            self.header, self.account = read_text(self._description, self.path, texts)
            self._require_arrays(len(self.header.columns))
            with damage_told(self.path):
                self.split: np.ndarray = self._file["split"][:]
                self.row_ids: np.ndarray = self._file["row_ids"][:]
        except SpinlockError:
            self._file.close()
            raise
        except (OSError, RuntimeError, AttributeError, LookupError, TypeError, ValueError) as error:
            if hasattr(self, "_file"):
                self._file.close()
            raise SpinlockError(
                f"this is not a subset file ({error})",
                where=self.path,
                remedy="make it with the stage `subset`",
            ) from error
        self.columns = self.header.columns
        self.source_digest = self.header.source_digest
        self.series = self.header.series
        self.n_rows = len(self.split)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _description(self) -> tuple[TableHeader, dict[str, Any]]:
        if _text(self._file.attrs.get("format")) != FORMAT:
            raise KeyError(FORMAT)
        header = TableHeader.from_json(_text(self._file["header"][()]))
        account = self._file["account"][()] if "account" in self._file else "{}"
        return header, json.loads(_text(account))

    def _require_arrays(self, n_columns: int) -> None:
        """Raise ValueError unless rows, split and values fit one another, inside this file."""
        shapes = {"values": (self._file["row_ids"].size, n_columns)}
        shapes |= dict.fromkeys(("row_ids", "split"), shapes["values"][:1])
        for name, shape in shapes.items():
            data = self._file[name]
            if data.shape != shape or data.is_virtual or data.external or data.file != self._file:
                raise ValueError(f"/{name} does not hold {shape} numbers of its own")
            if data.dtype.kind not in ("f" if name == "values" else "iu"):
                raise ValueError(f"/{name} holds {data.dtype}")

    @property
    def digest(self) -> str:
        """Digest of what the table holds: columns and rows of the dataset, and their sides."""
        digest = hashlib.sha256(self.header.to_json().encode())
        for numbers in (self.row_ids, self.split):
            digest.update(numbers.astype("<i8").tobytes())
        return digest.hexdigest()

    def rows(self, split: int) -> np.ndarray:
        """Return the positions of the rows of one side of the split."""
        return np.flatnonzero(self.split == split)

    def read(
        self, rows: slice | np.ndarray | None = None, columns: slice | None = None
    ) -> np.ndarray:
        """Return values [rows, columns]; all of them by default. Row arrays must ascend."""
        columns = columns or slice(None)
        with damage_told(self.path, "/values"):
            if rows is None or isinstance(rows, slice):
                return self._values[rows or slice(None), columns]
            return np.concatenate(
                [self._values[block, columns][chosen] for block, chosen in self._blocks(rows)]
                or [self._values[:0, columns]]
            )

    def blocks(self, size: int = ROW_BLOCK) -> Iterator[slice]:
        """Give slices that cover all rows in order."""
        for first in range(0, self.n_rows, size):
            yield slice(first, min(first + size, self.n_rows))

    def fields(self, rows: slice | np.ndarray) -> np.ndarray | None:
        """Return the initial fields [n, C, H, W] of the rows, None when the subset has none."""
        with damage_told(self.path, "/fields"):
            if "fields" not in self._file:
                return None
            fields = self._file["fields"]
            if isinstance(rows, slice) or not len(rows):
                return fields[rows]
            # reading a block and choosing from it is far faster than h5py's own choosing
            return np.concatenate([fields[block][chosen] for block, chosen in self._blocks(rows)])

    def label_names(self) -> list[str]:
        """Return the names of the labels that the subset carries."""
        names: list[str] = []
        if "labels" in self._file:
            self._file["labels"].visititems(
                lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
            )
        return names

    def labels(self, name: str) -> np.ndarray:
        """Return a label of every row, as text or integers."""
        if name.strip("/") not in self.label_names():
            raise SpinlockError(
                f"there is no label {name!r} in the subset",
                where=self.path,
                remedy=f"labels of this dataset: {', '.join(self.label_names()) or 'none'}",
            )
        with damage_told(self.path, f"the label {name}"):
            data = self._file[f"labels/{name.strip('/')}"]
            if not h5py.check_string_dtype(data.dtype):
                return data[:]
            return read_text(lambda: data.asstr()[:], self.path, [data])

    @property
    def _values(self) -> h5py.Dataset:
        return self._file["values"]

    def _blocks(self, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Give each block of rows that is needed, and the positions of the chosen rows in it."""
        for block in self.blocks():
            chosen = rows[(rows >= block.start) & (rows < block.stop)] - block.start
            if len(chosen):
                yield block, chosen


def is_table(path: Path) -> bool:
    """Return whether `FeatureTable` can open a file."""
    try:
        with FeatureTable(path):
            return True
    except SpinlockError:
        return False


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
