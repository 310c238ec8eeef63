"""evaluate: measure a model on its test rows, or on all rows of another dataset.

Reads a model, and the subset beside it or a dataset; writes a file of metrics where one is named.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinlock.analysis.baselines import REFERENCE, Baseline
from spinlock.analysis.comparison import baselines_of, baselines_of_subset, by_method, rows_to_fit
from spinlock.analysis.doubts import tell_doubts
from spinlock.analysis.evaluation import LESS_MEMORY, measure
from spinlock.analysis.rows import RowsOfSplit
from spinlock.errors import SpinlockError, listed, memory_for
from spinlock.features.dataset import open_dataset
from spinlock.features.repeats import row_keys
from spinlock.features.split import TEST
from spinlock.features.table import FeatureTable
from spinlock.files import refuse_overwriting, refuse_replacing, require_suffix, write_json
from spinlock.results.evaluation_files import is_metrics
from spinlock.results.model_settings import experiment_of_model
from spinlock.results.training_files import require_own_subset, training_inputs
from spinlock.settings.analysis import Evaluation
from spinlock.tokenizer.tokenizer import Tokenizer

log = logging.getLogger(__name__)


class Measurable(NamedTuple):
    """Rows to measure a model on, with their baselines and what is told of them."""

    rows: RowsOfSplit
    compared: list[Baseline]
    numbers: dict[str, Any]
    digest: str
    where: str


@memory_for("evaluate", LESS_MEMORY)
def run(
    model: Path,
    dataset: Sequence[Path] = (),
    output: Path | None = None,
    *,
    baselines: bool = False,
    allow_external: bool = False,
) -> dict[str, Any]:
    """Return the metrics of a model on its test rows, or on all rows of another dataset.

    They are those of the stage, without the probe; with `baselines`, other quantisers are fitted
    to the model's train rows.

    Raises
    ------
    SpinlockError
        When the model's subset is wanted and not beside it, the dataset has other columns, or
        `output` would replace what is read, or another kind of file.
    """
    if output is not None:
        require_suffix(output, ".json")
        beside = training_inputs(model.parent)  # which tell the rows that the model has seen
        refuse_overwriting([output], [model, *beside, *dataset])
        refuse_replacing(output, is_metrics)
    tokenizer = Tokenizer.load(model)
    settings = experiment_of_model(tokenizer.config, model).evaluation
    if dataset:
        found = _of_dataset(dataset, model, tokenizer, settings, baselines, allow_external)
    else:
        found = _of_test_rows(model, tokenizer, settings, baselines)
    measured = measure(tokenizer, found.rows, settings.max_pair_rows)
    tell_doubts(measured, found.rows, found.where)
    measured["rows"] |= found.numbers
    measured |= {
        "baselines": by_method(found.compared),
        "probe": None,
        "model_digest": tokenizer.digest,
        "dataset_digest": found.digest,
    }
    if output is not None:
        write_json(output, measured)
    return measured


def _of_test_rows(
    model: Path, tokenizer: Tokenizer, settings: Evaluation, baselines: bool
) -> Measurable:
    compared, numbers = [], {}
    with _own_subset(model, tokenizer, "name a dataset to measure on") as table:
        if baselines:
            fitted = rows_to_fit(table, tokenizer, settings.memory_budget)
            compared = baselines_of_subset(table, tokenizer, fitted)
            numbers = {"baselines_of": len(fitted)}
        rows = RowsOfSplit.of_table(table, tokenizer)
        return Measurable(rows, compared, numbers, tokenizer.source_digest, str(table.path))


def _of_dataset(
    dataset: Sequence[Path],
    model: Path,
    tokenizer: Tokenizer,
    settings: Evaluation,
    baselines: bool,
    allow_external: bool,
) -> Measurable:
    # what is missing is told before the rows are encoded
    train = _own_train_rows(model, tokenizer, settings) if baselines else None
    with open_dataset(dataset, external=allow_external) as source:
        rows = RowsOfSplit.of_dataset(source, tokenizer)
        digest = source.digest(fields=tokenizer.reads_fields)
    seen = _seen_in_training(rows.x, digest, tokenizer, model.parent / "subset.h5")
    numbers = {"test": 0, "all": len(rows.x), "measured_on": "all", "seen_in_training": seen}
    compared = []
    if train is not None:
        numbers["baselines_of"] = len(train)
        # the reference is that of the train rows, and is not measured
        of_others = baselines_of(tokenizer, train, rows.x)
        compared = [one for one in of_others if one.method != REFERENCE]
    return Measurable(rows, compared, numbers, digest, listed([str(path) for path in dataset]))


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


def _own_train_rows(model: Path, tokenizer: Tokenizer, settings: Evaluation) -> np.ndarray:
    """Return the normalised train rows [n, D] of a model that baselines are fitted to."""
    with _own_subset(model, tokenizer, "measure without baselines") as table:
        fitted = rows_to_fit(table, tokenizer, settings.memory_budget)
        return tokenizer.normalize(table.read(fitted))


@contextmanager
def _own_subset(model: Path, tokenizer: Tokenizer, remedy: str) -> Iterator[FeatureTable]:
    """Open the subset beside a model; another's train rows could count as test rows."""
    subset = model.parent / "subset.h5"
    if not subset.is_file():
        raise SpinlockError("there is no subset.h5 beside the model", where=model, remedy=remedy)
    with FeatureTable(subset) as table:
        require_own_subset(table, tokenizer.provenance, remedy)
        yield table
