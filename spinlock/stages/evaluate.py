"""evaluate: measure a model on rows that took no part in any fit, beside its baselines.

Reads best_model.pt and subset.h5; writes metrics.json and baselines.csv.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spinlock.analysis.baselines import REFERENCE, Baseline, rows_within
from spinlock.analysis.evaluation import baselines_of, measure, probe_label
from spinlock.analysis.metrics import dominant_feature, hidden_by_caps
from spinlock.analysis.rows import RowsOfSplit, reported_side
from spinlock.errors import SpinlockError, listed, memory_for
from spinlock.features.dataset import open_dataset
from spinlock.features.repeats import row_keys
from spinlock.features.split import TEST, TRAIN, sample_rows
from spinlock.features.table import FeatureTable
from spinlock.files import write_json, write_text
from spinlock.settings import Experiment
from spinlock.stages.model_settings import require_own_model
from spinlock.stages.program import execute, experiment_of, experiment_of_model, stage_parser
from spinlock.stages.training_files import require_own_subset
from spinlock.stages.unlike_data import unlike_data_told
from spinlock.tokenizer.tokenizer import Tokenizer

log = logging.getLogger(__name__)

FEW_ROWS = 30  # below, a metric is hardly one
FALL = 0.01  # of R² from one level to the next: more is told
FITTED_SEED = 0  # the same train rows in every evaluation of a split
LESS_MEMORY = "lower evaluation.memory_budget, evaluation.max_pair_rows or max_samples"
BASELINE_COLUMNS = ["method", "bits", "quality"]


@memory_for("evaluate", LESS_MEMORY)
def run(
    config: Path | Experiment, model: Path, subset: Path, metrics: Path, baselines: Path
) -> None:
    """Measure a model and write what was measured."""
    experiment = experiment_of(config)
    settings = experiment.evaluation
    tokenizer = Tokenizer.load(model)
    require_own_model(experiment, tokenizer.config, model)
    with FeatureTable(subset) as table:
        require_own_subset(table, tokenizer.provenance)
        fits = settings.baselines or settings.probe_column is not None
        fitted = _rows_to_fit(table, tokenizer, experiment) if fits else np.empty(0, int)
        # before all rows are held, since faiss takes much memory for a while
        compared = _compared(table, tokenizer, fitted) if settings.baselines else []
        rows = RowsOfSplit.of_table(table, tokenizer)
        labels = table.labels(settings.probe_column) if settings.probe_column else None
    measured = _measured(tokenizer, rows, experiment, subset) | {
        "baselines": _by_method(compared),
        "probe": None
        if labels is None
        else {"column": settings.probe_column} | probe_label(tokenizer, rows, labels, fitted),
        "model_digest": tokenizer.digest,
        "dataset_digest": tokenizer.source_digest,
    }
    if fits:
        measured["rows"] |= {"baselines_of": len(fitted)}
    write_json(metrics, measured)
    _write_baselines(compared, baselines)
    for target in measured["targets"]:
        sign = "<" if target["below"] else ">"
        state = "met" if target["met"] else "NOT MET"
        log.info("%s %s %s %s: %s", target["name"], target["value"], sign, target["target"], state)


def _rows_to_fit(table: FeatureTable, tokenizer: Tokenizer, experiment: Experiment) -> np.ndarray:
    """Return the train rows that baselines are fitted to: as many as the memory for it allows."""
    train = table.rows(TRAIN)
    most = rows_within(experiment.evaluation.memory_budget, len(tokenizer.kept))
    if most < len(train):
        log.info(
            "baselines are fitted to %d of %d train rows: evaluation.memory_budget",
            *(most, len(train)),
        )
    return sample_rows(train, most, FITTED_SEED)


def _compared(table: FeatureTable, tokenizer: Tokenizer, fitted: np.ndarray) -> list[Baseline]:
    """Return the baselines of the rows that a subset reports on."""
    reported = table.rows(reported_side(table.split))
    train, x = (tokenizer.normalize(table.read(rows)) for rows in (fitted, reported))
    return baselines_of(tokenizer, train, x)


def _by_method(compared: Sequence[Baseline]) -> dict[str, dict[str, float | None]]:
    """Return baselines at the model's own bits, or at the most that a method can spend."""
    # of each method, the last one stays
    return {one.method: {"bits": one.bits, "quality": one.quality} for one in compared}


def _measured(
    tokenizer: Tokenizer, rows: RowsOfSplit, experiment: Experiment, where: object
) -> dict[str, Any]:
    """Return the metrics of rows, and warn of what they hide."""
    measured = measure(tokenizer, rows, experiment.evaluation.max_pair_rows)
    _warn_of_few_rows(len(rows.reported))
    _warn_of_falling_levels(measured["quality_by_level"])
    _warn_of_one_feature(measured["quality_by_feature"])
    cells = max(rows.x.size, 1)
    imputed, capped = (
        count.sum() / cells for count in (rows.altered.imputed_cells, rows.altered.capped_cells)
    )
    if not unlike_data_told(imputed, capped, where):
        _warn_of_caps(measured)
    return measured


def _warn_of_few_rows(n_rows: int) -> None:
    if n_rows < FEW_ROWS:
        log.warning(
            "these metrics are of %d rows: what differs by a few hundredths is chance", n_rows
        )


def _warn_of_falling_levels(by_level: Mapping[str, float | None]) -> None:
    """Tell where decoding from more levels is worse than from fewer."""
    known = [(level, value) for level, value in by_level.items() if value is not None]
    for (before, less), (level, value) in pairwise(known):
        if value < less - FALL:
            log.warning(
                "decoded up to the level %s, quality is %.3f, less than the %.3f up to %s: levels "
                "of few small books tell little by themselves, but together",
                *(level, value, less, before),
            )


def _warn_of_one_feature(by_feature: Mapping[str, Any]) -> None:
    heaviest = dominant_feature(by_feature)
    if heaviest:
        log.warning(
            "%s alone has %.0f %% of the variance of these rows: quality tells little of others; "
            "see normalization_method and feature_cleaning.outlier_method",
            heaviest["feature"],
            100 * heaviest["share"],
        )


def _warn_of_caps(measured: Mapping[str, Any]) -> None:
    hidden = hidden_by_caps(measured)
    if hidden:
        log.warning(
            "quality is of values as they are capped: R² of a tenth of the features is below %.3f, "
            "and below %.3f of the values before, of which %.1f %% are beyond the caps; with "
            "feature_cleaning.outliers: log, or logarithms of such features, tokens tell of these",
            *hidden,
            100 * measured["quality_before_caps"]["capped_share"],
        )


@memory_for("evaluate", LESS_MEMORY)
def measure_model(
    model: Path,
    dataset: Sequence[Path] = (),
    *,
    baselines: bool = False,
    allow_external: bool = False,
) -> dict[str, Any]:
    """Return the metrics of a model on its test rows, or on all rows of another dataset.

    They are those of `run`, without the probe; with `baselines`, other quantisers are fitted to
    the model's train rows.

    Raises
    ------
    SpinlockError
        When the model's subset is wanted and not beside it, or the dataset has other columns.
    """
    tokenizer = Tokenizer.load(model)
    experiment = experiment_of_model(tokenizer.config, model)
    of: dict[str, Any] = {}
    digest = tokenizer.source_digest
    compared: list[Baseline] = []
    if dataset:
        train = _own_train_rows(model, tokenizer, experiment) if baselines else None
        with open_dataset(dataset, external=allow_external) as source:
            rows = RowsOfSplit.of_dataset(source, tokenizer)
            digest = source.digest(fields=tokenizer.reads_fields)
        seen = _seen_in_training(rows.x, digest, tokenizer, model.parent / "subset.h5")
        of = {"test": 0, "all": len(rows.x), "measured_on": "all", "seen_in_training": seen}
        if train is not None:
            of["baselines_of"] = len(train)
            # the reference is that of the train rows, and is not measured
            of_others = baselines_of(tokenizer, train, rows.x)
            compared = [one for one in of_others if one.method != REFERENCE]
    else:
        with _own_subset(model, tokenizer, "name a dataset to measure on") as table:
            if baselines:
                fitted = _rows_to_fit(table, tokenizer, experiment)
                of["baselines_of"] = len(fitted)
                compared = _compared(table, tokenizer, fitted)
            rows = RowsOfSplit.of_table(table, tokenizer)
    where = listed([str(path) for path in dataset]) if dataset else model.parent / "subset.h5"
    measured = _measured(tokenizer, rows, experiment, where)
    measured["rows"] |= of
    return measured | {
        "baselines": _by_method(compared),
        "probe": None,
        "model_digest": tokenizer.digest,
        "dataset_digest": digest,
    }


def _seen_in_training(x: np.ndarray, digest: str, tokenizer: Tokenizer, subset: Path) -> int | None:
    """Return how many rows x [n, D] of a dataset the training or a choice of it saw, and warn.

    By the subset of the model; None where that cannot tell. A larger dataset of the same seed
    begins with the operators of a smaller one.
    """
    seen = None
    with suppress(SpinlockError), FeatureTable(subset) as table:  # else nobody can tell
        require_own_subset(table, tokenizer.provenance)
        known = [
            row_keys(tokenizer.normalize(table.read(block))[table.split[block] != TEST])
            for block in table.blocks()
        ]
        seen = int(np.isin(row_keys(x), np.concatenate(known)).sum())
    if digest == tokenizer.source_digest:
        log.warning("this is the dataset that the model was trained on: not a fair test")
    elif seen:
        log.warning(
            "%d of these %d rows are ones that the model was trained or chosen by: not a fair test",
            seen,
            len(x),
        )
    return seen


def _own_train_rows(model: Path, tokenizer: Tokenizer, experiment: Experiment) -> np.ndarray:
    """Return the normalised train rows [n, D] of a model that baselines are fitted to."""
    with _own_subset(model, tokenizer, "measure without baselines") as table:
        return tokenizer.normalize(table.read(_rows_to_fit(table, tokenizer, experiment)))


@contextmanager
def _own_subset(model: Path, tokenizer: Tokenizer, remedy: str) -> Iterator[FeatureTable]:
    """Open the subset beside a model; another's train rows could count as test rows."""
    subset = model.parent / "subset.h5"
    if not subset.is_file():
        raise SpinlockError("there is no subset.h5 beside the model", where=model, remedy=remedy)
    with FeatureTable(subset) as table:
        require_own_subset(table, tokenizer.provenance, remedy)
        yield table


def _write_baselines(compared: Sequence[Baseline], path: Path) -> None:
    rows = [asdict(one) for one in compared]
    write_text(path, pd.DataFrame(rows, columns=BASELINE_COLUMNS).to_csv(index=False))


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
