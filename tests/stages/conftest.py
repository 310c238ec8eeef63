"""A whole pipeline as one call."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from spinlock.features.split import TEST, TRAIN, VALIDATION
from spinlock.features.table import FeatureTable
from spinlock.settings import Experiment, load_experiment
from spinlock.stages import cluster, encode, evaluate, normalize, subset, train
from spinlock.stages.training_files import read_statistics

SMALL: dict[str, Any] = {
    "model": {"bits": 24, "group_hidden_dim": 8, "group_embedding_dim": 8},
    "training": {
        "batch_size": 64,
        "num_epochs": 2,
        "learning_rate": 0.001,
        "num_categories_auto": 3,
        "val_every_n_epochs": 1,
        "use_torch_compile": False,
    },
    "logging": {"verbose": False},
}
SHARES = (0.1, 0.6, 0.1, 0.2)  # of operators on no side, and of train, validation and test rows


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with some of them changed."""
    result = dict(base)
    for key, value in changes.items():
        inner = base.get(key)
        both = isinstance(value, dict) and isinstance(inner, dict)
        result[key] = merged(inner, value) if both else value
    return result


@dataclass(frozen=True)
class Finished:
    """An experiment whose stages have all run, on 150 operators with series; no test changes it.

    Of the first 140 the column metadata/side leaves some out and puts the rest on sides of
    unlike sizes, so that numbers of rows and of operators differ.
    """

    dataset: Path
    config: Path
    out: Path

    @property
    def experiment(self) -> Experiment:
        return load_experiment(self.config)

    def path(self, name: str) -> Path:
        return self.out / name


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    rng = np.random.default_rng(5)
    causes = rng.normal(size=(150, 3))
    summary = np.repeat(causes, 4, axis=1) + 0.3 * rng.normal(size=(150, 12))
    summary[::10, 1] = np.nan
    summary[:, 11] = 2.5
    curves = causes[:, None, :2] * np.linspace(1, 2, 12)[None, :, None]
    curves[3, 5:] = np.nan
    sides = np.random.default_rng(10).choice([-1, TRAIN, VALIDATION, TEST], 150, p=SHARES)
    sides[3] = VALIDATION  # no fit has seen a gap in a series
    with h5py.File(folder / "data.h5", "w") as file:
        file["features/summary/aggregated/features"] = summary
        file["features/temporal/features"] = curves
        file["metadata/kind"] = [f"kind {i % 3}" for i in range(150)]
        file["metadata/side"] = sides
    values = merged(
        SMALL,
        {
            "dataset_path": str(folder / "data.h5"),
            "max_samples": 140,
            "random_seed": 7,
            "split": {"column": "metadata/side"},
            "families": {
                "summary": {"encoder": "MLPEncoder"},
                "temporal": {"encoder": "TemporalCNNEncoder"},
            },
            "evaluation": {"probe_column": "metadata/kind"},
            "visualization": {"projection": "tsne", "max_points": 60},
            "device": "cpu",
        },
    )
    config = folder / "experiment.yaml"
    config.write_text(yaml.safe_dump(values))
    run_stages(load_experiment(config), [folder / "data.h5"], folder / "out")
    return Finished(folder / "data.h5", config, folder / "out")


def run_stages(experiment: Experiment, dataset: list[Path], out: Path) -> None:
    """Run subset to encode, writing to a folder."""
    table, statistics = out / "subset.h5", out / "feature_statistics.npz"
    categories, model = out / "categories.json", out / "best_model.pt"
    subset.run(experiment, dataset, table)
    normalize.run(experiment, table, statistics)
    cluster.run(
        experiment, table, statistics, categories, out / "silhouette.csv", out / "linkage.npz"
    )
    train.run(experiment, table, statistics, categories, model)
    evaluate.run(experiment, model, table, out / "metrics.json", out / "baselines.csv")
    encode.run(model, dataset, out / "tokens.h5", out / "tokens.parquet", table)


@pytest.fixture(scope="session")
def rows_of(finished: Finished) -> Callable[[int], np.ndarray]:
    """Give a function that returns the normalised rows of one side of the finished experiment."""
    statistics = read_statistics(finished.path("feature_statistics.npz"))
    with FeatureTable(finished.path("subset.h5")) as table:
        rows = {side: statistics.apply(table.read(table.rows(side))) for side in range(3)}
    return rows.__getitem__


@pytest.fixture
def run_pipeline(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that runs subset to encode on a dataset, and returns the result folder."""

    def run(dataset: Path, families: dict[str, str], **changes: Any) -> Path:
        values = merged(SMALL, changes) | {
            "dataset_path": str(dataset),
            "families": {name: {"encoder": encoder} for name, encoder in families.items()},
        }
        config, out = tmp_path / "experiment.yaml", tmp_path / "results"
        config.write_text(yaml.safe_dump(values))
        experiment = load_experiment(config)
        run_stages(experiment, [dataset], out)
        return out

    return run


@pytest.fixture
def kept_names(finished: Finished) -> list[str]:
    """Give the names of the columns that the finished experiment keeps."""
    kept = read_statistics(finished.path("feature_statistics.npz")).kept
    with FeatureTable(finished.path("subset.h5")) as table:
        return [table.columns[i].full_name for i in kept]
