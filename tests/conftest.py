"""Datasets, models and finished experiments that tests share; how many examples are drawn."""

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, settings

from spinlock.features.operator_file import OperatorFileWriter
from spinlock.features.split import TEST, TRAIN, VALIDATION
from spinlock.features.table import FeatureTable
from spinlock.results.training_files import read_statistics
from spinlock.settings import Experiment, load_experiment
from spinlock.settings.families import ENCODER_PARAMS
from spinlock.stages import cluster, encode, evaluate, normalize, subset
from spinlock.stages import train as train_stage
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.book_sizes import BookRequest
from spinlock.tokenizer.start.model import ModelRequest, start_model

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

PARTITION = [[0, 1, 2], [3, 4, 5]]
MLP = ENCODER_PARAMS["MLPEncoder"](hidden_dims=[6], output_dim=4).model_dump()
SHAPE = ModelShape(
    partition=PARTITION,
    book_sizes=[],
    column_family=["summary"] * 6,
    encoders={"summary": {"encoder": "MLPEncoder", "encoder_params": MLP}},
    embedding_dim=3,
    hidden_dim=4,
    beam_width=2,
)
REQUEST = ModelRequest(
    SHAPE, BookRequest(explicit=[[(None, 8), (None, 4), (None, 2)]] * 2), batch_size=32, seed=0
)

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


def changed_request(**changes) -> ModelRequest:
    """What is asked of a model, with some values of it, or of its shape, changed."""
    own = {name: changes.pop(name) for name in ("books", "batch_size", "seed") if name in changes}
    return replace(REQUEST, shape=replace(SHAPE, **changes), **own)


def draw_rows(seed: int, n_rows: int) -> Rows:
    """Rows of six columns of two hidden causes."""
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(n_rows, 2)), 3, axis=1) + 0.4 * rng.normal(size=(n_rows, 6))
    return Rows(torch.from_numpy(x).float())


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


@pytest.fixture(scope="session")
def train() -> Rows:
    return draw_rows(0, 130)


@pytest.fixture(scope="session")
def validation() -> Rows:
    return draw_rows(1, 60)


@pytest.fixture(scope="session")
def make_request() -> Callable[..., ModelRequest]:
    """Give a function that makes a request with some values of it, or of its shape, changed."""
    return changed_request


@pytest.fixture(scope="session")
def make_model(train: Rows, validation: Rows) -> Callable[..., TokenizerModel]:
    """Give a function that makes the model before end-to-end training, the same every time."""
    made: dict[str, TokenizerModel] = {}

    def make(**changes) -> TokenizerModel:
        key = repr(changes)
        if key not in made:
            made[key] = start_model(changed_request(**changes), train, validation)
        return copy.deepcopy(made[key])

    return make


@pytest.fixture(scope="session")
def disturbed() -> Callable[[TokenizerModel, int, float], TokenizerModel]:
    """Give a function that leaves a model as a bad training might."""

    def disturb(model: TokenizerModel, seed: int, size: float) -> TokenizerModel:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weights in model.parameters():
                weights.add_(size * torch.randn(weights.shape, generator=generator))
            # padding stays what it is
            for level in range(model.n_levels):
                codes = model.quantizer.codes(level)
                codes[~model.quantizer.valid(level)] = 0.0
        return model.eval()

    return disturb


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
    train_stage.run(experiment, table, statistics, categories, model)
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
