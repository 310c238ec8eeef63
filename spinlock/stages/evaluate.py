"""evaluate: measure a model on rows that took no part in any fit, beside its baselines.

Reads best_model.pt and subset.h5; writes metrics.json and baselines.csv.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spinlock.analysis import metrics as measure
from spinlock.analysis.baselines import Baseline, compare_baselines, residual_reconstruction
from spinlock.analysis.cleaning import describe_cleaning
from spinlock.analysis.probe import probe
from spinlock.analysis.rows import RowsOfSplit
from spinlock.errors import SpinlockError, memory_for
from spinlock.features.dataset import open_dataset
from spinlock.features.split import SPLIT_NAMES, TRAIN
from spinlock.features.table import FeatureTable
from spinlock.files import file_digest, read_json, write_text
from spinlock.settings import Experiment
from spinlock.settings.sections import Evaluation
from spinlock.stages.program import execute, experiment_of, experiment_of_model, stage_parser
from spinlock.stages.train import training_inputs
from spinlock.tokenizer.device import choose_device
from spinlock.tokenizer.tokenizer import Tokenizer
from spinlock.training.provenance import files_digest

log = logging.getLogger(__name__)

# the seed's targets: the metric must be above, or below where `below` is true
TARGETS = (
    {"name": "quality", "target": 0.90, "below": False},
    {"name": "utilization", "target": 0.25, "below": False},
    {"name": "orthogonality", "target": 0.25, "below": True},
    {"name": "topographic", "target": 0.60, "below": False},
)
SHAPE_OF_METRICS = {
    "targets": list,
    "rows": dict,
    "bits": dict,
    "baselines": dict,
    "cleaning": dict,
}


@memory_for("evaluate", "lower evaluation.max_pair_rows or max_samples, or turn baselines off")
def run(
    config: Path | Experiment, model: Path, subset: Path, metrics: Path, baselines: Path
) -> None:
    """Measure a model and write what was measured."""
    experiment = experiment_of(config)
    tokenizer = Tokenizer.load(model, device=str(choose_device(experiment.device)))
    with FeatureTable(subset) as table:
        rows = RowsOfSplit.of_table(table, tokenizer)
        labels = _probe_labels(table, experiment.evaluation)
    compared = _baselines(tokenizer, rows) if experiment.evaluation.baselines else []
    measured = _measure(tokenizer, rows, experiment.evaluation) | {
        "baselines": _at_full_bits(compared),
        "probe": None if labels is None else _probe(tokenizer, rows, labels),
        "model_digest": file_digest(model),
    }
    write_text(metrics, json.dumps(measured, indent=2) + "\n")
    columns = ["method", "bits", "quality"]
    table_of_baselines = pd.DataFrame([asdict(one) for one in compared], columns=columns)
    write_text(baselines, table_of_baselines.to_csv(index=False))
    _warn_of_one_feature(measured["quality_by_feature"])
    for target in measured["targets"]:
        sign = "<" if target["below"] else ">"
        state = "met" if target["met"] else "NOT MET"
        log.info("%s %s %s %s: %s", target["name"], target["value"], sign, target["target"], state)


def _warn_of_one_feature(by_feature: Mapping[str, Any]) -> None:
    heaviest = measure.dominant_feature(by_feature)
    if heaviest:
        log.warning(
            "%s alone has %.0f %% of the variance of these rows: quality tells little of others; "
            "see normalization_method and feature_cleaning.outlier_method",
            heaviest["feature"],
            100 * heaviest["share"],
        )


def measure_model(
    model: Path, dataset: Sequence[Path] = (), *, allow_external: bool = False
) -> dict[str, Any]:
    """Return the metrics of a model on its test rows, or on all rows of another dataset.

    Raises
    ------
    SpinlockError
        When the model's subset is not beside it, or the dataset has other columns.
    """
    tokenizer = Tokenizer.load(model)
    experiment = experiment_of_model(tokenizer.config, model)
    if dataset:
        with open_dataset(dataset, external=allow_external) as source:
            rows = RowsOfSplit.of_dataset(source, tokenizer)
    else:
        subset = model.parent / "subset.h5"
        if not subset.is_file():
            raise SpinlockError(
                "there is no subset.h5 beside the model",
                where=model,
                remedy="name a dataset to measure on",
            )
        with FeatureTable(subset) as table:
            _require_own_subset(table, tokenizer)
            rows = RowsOfSplit.of_table(table, tokenizer)
    return _measure(tokenizer, rows, experiment.evaluation)


def _require_own_subset(table: FeatureTable, tokenizer: Tokenizer) -> None:
    """Raise unless a table is that of the model: else its train rows could count as test rows."""
    inputs = training_inputs(table.path.parent)
    same = table.source_digest == tokenizer.source_digest
    if all(path.is_file() for path in inputs):
        same = files_digest(inputs) == tokenizer.provenance.get("data")
    if not same:
        raise SpinlockError(
            "this subset is not the one that the model was trained with",
            where=table.path,
            remedy="name a dataset to measure on, or train again",
        )


def read_metrics(path: Path) -> dict[str, Any]:
    """Return what `run` wrote to metrics.json.

    Raises
    ------
    SpinlockError
        When the file is missing or something else.
    """
    try:
        measured = read_json(path)
        for key, kind in SHAPE_OF_METRICS.items():
            if not isinstance(measured[key], kind):
                raise TypeError(f"{key} is no {kind.__name__}")
        return measured
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SpinlockError(
            f"this is not a file of metrics ({error})",
            where=path,
            remedy="make it with the stage `evaluate`",
        ) from error


def _measure(tokenizer: Tokenizer, rows: RowsOfSplit, settings: Evaluation) -> dict[str, Any]:
    """Return all metrics of a model but its baselines, the seed's targets first."""
    sizes, levels = tokenizer.codebook_sizes, tokenizer.levels
    test, pairs = rows.reported, rows.pairs(settings.max_pair_rows)
    x, tokens = rows.x[test], rows.tokens[test]
    decoded = [tokenizer.reconstruct(tokens, level + 1) for level in range(len(levels))]
    mean = tokenizer.statistics.normalized_mean
    counts = measure.code_counts(rows.tokens, sizes)
    embedded = [tokenizer.embed(rows.tokens[pairs], level + 1) for level in range(len(levels))]
    flat = [codes.reshape(len(pairs), -1) for codes in embedded]
    near = [measure.topographic(rows.x[pairs], codes) for codes in flat]
    by_group = partial(_quality_by_group, x, dict(zip(levels, decoded, strict=True)), mean)
    between = measure.orthogonality(x, list(tokenizer.categories.values()))
    measured = {
        "rows": {
            **{name: len(rows.of(side)) for side, name in enumerate(SPLIT_NAMES)},
            "measured_on": SPLIT_NAMES[rows.side],
            "pairs_of": len(pairs),
            "dependence_of": min(len(pairs), measure.DEPENDENCE_ROWS),
            "utilization_of": len(rows.x),
        },
        "quality": measure.quality(x, decoded[-1], mean),
        "quality_by_level": {
            level: measure.quality(x, values, mean)
            for level, values in zip(levels, decoded, strict=True)
        },
        "quality_by_feature": measure.quality_by_feature(
            x, decoded[-1], mean, tokenizer.kept_names
        ),
        "quality_by_family": by_group(_columns_of_families(tokenizer)),
        "quality_by_category": by_group(tokenizer.categories),
        "utilization": measure.utilization(counts),
        "utilization_test": {
            "value": measure.utilization(measure.code_counts(tokens, sizes)),
            "reachable": measure.reachable_utilization(sizes, len(tokens)),
        },
        "books": measure.book_table(counts, list(tokenizer.categories), levels),
        "orthogonality": between["mean"],
        "orthogonality_maximum": between["maximum"],
        "code_dependence": measure.code_dependence(embedded[-1]),
        "topographic": near[-1],
        "topographic_by_level": dict(zip(levels, near, strict=True)),
        "trustworthiness": measure.neighbourhood_trust(rows.x[pairs], flat[-1]),
        "bits": {
            "nominal": tokenizer.bits,
            "entropy": float(sum(measure.entropy_bits(b) for books in counts for b in books)),
            "by_level": dict(zip(levels, np.log2(sizes).sum(axis=0).tolist(), strict=True)),
        },
        "cleaning": describe_cleaning(
            tokenizer.statistics, tokenizer.columns, rows.altered, rows.split, rows.account
        ),
    }
    return {"targets": _targets(measured)} | measured


def _quality_by_group(
    x: np.ndarray,
    decoded: Mapping[str, np.ndarray],
    mean: np.ndarray,
    groups: Mapping[str, np.ndarray],
) -> dict[str, dict[str, float | None]]:
    """Return group → level → R² of the group's columns when levels 0..l are decoded."""
    by_level = {
        level: measure.quality_by_group(x, values, mean, groups)
        for level, values in decoded.items()
    }
    return {name: {level: found[name] for level, found in by_level.items()} for name in groups}


def _targets(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the seed's targets with the values reached; what is undefined is not met."""
    table = []
    for target in TARGETS:
        value = measured[target["name"]]
        below, limit = target["below"], target["target"]
        met = value is not None and (value < limit if below else value > limit)
        table.append(target | {"value": value, "met": bool(met)})
    return table


def _baselines(tokenizer: Tokenizer, rows: RowsOfSplit) -> list[Baseline]:
    budgets = np.cumsum(np.log2(tokenizer.codebook_sizes).sum(axis=0))
    return compare_baselines(rows.x[rows.of(TRAIN)], rows.x[rows.reported], budgets.tolist())


def _at_full_bits(compared: list[Baseline]) -> dict[str, dict[str, float | None]]:
    """Return each method at the model's own bits, or at the most that it can spend."""
    return {one.method: {"bits": one.bits, "quality": one.quality} for one in compared}


def _probe_labels(table: FeatureTable, settings: Evaluation) -> np.ndarray | None:
    return None if settings.probe_column is None else table.labels(settings.probe_column)


def _probe(tokenizer: Tokenizer, rows: RowsOfSplit, labels: np.ndarray) -> dict[str, Any]:
    """Return the accuracies of predicting a label from features, tokens, and codes of faiss."""
    train = rows.of(TRAIN)
    kinds = {
        "features": rows.x,
        "tokens": tokenizer.embed(rows.tokens).reshape(len(rows.x), -1),
        "faiss_rq": residual_reconstruction(rows.x[train], rows.x, tokenizer.bits),
    }
    return probe(kinds, labels, train, rows.reported)


def _columns_of_families(tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """Return family → positions of its columns among the kept ones."""
    family = np.array([tokenizer.columns[i].family for i in tokenizer.kept])
    return {str(name): np.flatnonzero(family == name) for name in dict.fromkeys(family)}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--subset", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--baselines", type=Path, required=True)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()
