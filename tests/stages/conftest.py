"""A whole pipeline as one call."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from spinlock.settings import load_experiment
from spinlock.stages import cluster, encode, evaluate, normalize, subset, train

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


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with some of them changed."""
    result = dict(base)
    for key, value in changes.items():
        inner = base.get(key)
        both = isinstance(value, dict) and isinstance(inner, dict)
        result[key] = merged(inner, value) if both else value
    return result


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
        out.mkdir(exist_ok=True)
        table, statistics = out / "subset.h5", out / "feature_statistics.npz"
        categories, model = out / "categories.json", out / "best_model.pt"
        subset.run(experiment, [dataset], table)
        normalize.run(experiment, table, statistics)
        cluster.run(
            experiment, table, statistics, categories, out / "silhouette.csv", out / "linkage.npz"
        )
        train.run(experiment, table, statistics, categories, model)
        evaluate.run(experiment, model, table, out / "metrics.json", out / "baselines.csv")
        encode.run(model, [dataset], out / "tokens.h5", out / "tokens.parquet", table)
        return out

    return run
