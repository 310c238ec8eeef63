"""Datasets that tests share, and how many examples hypothesis draws."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

from spinlock.features.operator_file import OperatorFileWriter

# the same examples in every run; `make fuzz` draws new ones instead, and keeps what fails
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile(
    "fuzz",
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
# of a mutation test: that an example fails is enough, the simplest one is not looked for
settings.register_profile(
    "quick", settings.get_profile("same"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture
def planted_features() -> Callable[..., dict[str, np.ndarray]]:
    """Give features of three hidden causes: architecture [n, 5], summary [n, 12]."""

    def features(n_rows: int, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        causes = rng.normal(size=(n_rows, 3))
        summary = np.repeat(causes, 4, axis=1) + 0.3 * rng.normal(size=(n_rows, 12))
        return {
            "architecture": rng.uniform(size=(n_rows, 5)).astype(np.float32),
            "summary": summary.astype(np.float32),
        }

    return features


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes families, and labels, to a dataset in the layout."""

    def write(
        features: dict[str, np.ndarray],
        labels: dict[str, np.ndarray] | None = None,
        name: str = "dataset.h5",
        fields: np.ndarray | None = None,
    ) -> Path:
        blocks = {
            f"features/{family}/{'features' if values.ndim == 3 else 'aggregated/features'}": values
            for family, values in features.items()
        }
        blocks |= {f"metadata/{label}": values for label, values in (labels or {}).items()}
        if fields is not None:
            blocks["inputs/fields"] = fields
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            writer = OperatorFileWriter(file, len(next(iter(features.values()))), {})
            writer.write(0, blocks)
        return path

    return write
