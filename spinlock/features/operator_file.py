"""Writing operator datasets in HDF5: the only writer of the layout (docs/dataset-layout.md)."""

import json
from collections.abc import Mapping, Sequence

import h5py
import numpy as np

NAMES = "feature_names"  # an attribute, or a dataset of text
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


def _registry(names: Sequence[str]) -> dict[str, dict[str, int]]:
    registry: dict[str, dict[str, int]] = {}
    for column, name in enumerate(names):
        category, short = name.split("/", 1)
        registry.setdefault(category, {})[short] = column
    return registry
