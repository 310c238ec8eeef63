"""HDF5 files in a temporary folder."""

from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest


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
