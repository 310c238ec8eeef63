"""subset: take the operators and feature families of an experiment, and split the rows.

Reads the HDF5 dataset (one file, or shards in order); writes subset.h5.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spinlock.errors import SpinlockError, located, memory_for
from spinlock.features.columns import TableColumns, choose_columns, read_columns, read_fields
from spinlock.features.dataset import OperatorDataset, open_dataset
from spinlock.features.hdf5 import create_hdf5
from spinlock.features.naming import nearest_names
from spinlock.features.repeats import repeated_rows, row_keys
from spinlock.features.series import kept_variance
from spinlock.features.split import (
    SPLIT_NAMES,
    TEST,
    VALIDATION,
    random_split,
    sample_rows,
    split_by_column,
    split_by_group,
    strange_sides,
)
from spinlock.features.table import ROW_BLOCK, TableHeader, TableWriter
from spinlock.operators.dataset_files import named_files
from spinlock.operators.simulated_files import require_simulation
from spinlock.program import execute, experiment_of, stage_parser
from spinlock.settings import Experiment
from spinlock.settings.families import require_readable

log = logging.getLogger(__name__)

SHOWN = 5  # values, at most
SERIES_ROWS, LEAST_ROWS = 2048, 32  # of which the variance of series is taken
RUNS_SEED = 0  # of which rows these are: the same of the same dataset
SERIES_CELLS = 10_000_000  # of those rows, at most: memory for a few copies
KEPT = 0.9  # of a channel's variance: less is told
FAR = 2  # times the wanted share of a side, or less than its inverse


@memory_for("subset", "lower max_samples, or give the job more memory")
def run(config: Path | Experiment, dataset: Sequence[Path], output: Path) -> None:
    """Write the subset of a dataset that an experiment uses."""
    experiment = experiment_of(config)
    if list(dataset) == named_files(experiment):
        require_simulation(experiment)
    with open_dataset(dataset, external=experiment.allow_external_data) as source:
        chosen = choose_columns(source, list(experiment.families), experiment.coefficients)
        with located(source.where):
            require_readable(experiment.families, chosen.series, source.grid)
        require_labels(experiment, source)
        require_color(
            experiment.visualization.color_by, [column.full_name for column in chosen.columns]
        )
        n_rows = experiment.rows_of(source.n_operators)
        if experiment.max_samples and n_rows < experiment.max_samples:
            log.warning("max_samples is %d, the dataset has %d", experiment.max_samples, n_rows)
        with located(source.where):
            rows, split = split_rows(experiment, source)
            _warn_of_split(experiment, source, split, n_rows)
        with_fields = experiment.reads_fields
        digest = source.digest(fields=with_fields)
        header = TableHeader(chosen.columns, digest, chosen.series)
        with create_hdf5(output) as file:
            writer = TableWriter(file, header, rows, split, chosen.dtype(source))
            filled: Counter[str] = Counter()
            keys = []
            for first in range(0, len(rows), ROW_BLOCK):
                block = rows[first : first + ROW_BLOCK]
                values = read_columns(source, chosen, block, filled)
                keys.append(row_keys(values))
                writer.write(first, values)
                if with_fields:
                    writer.write_fields(first, read_fields(source, block, filled), len(rows))
            repeats, leaking = repeated_rows(np.concatenate(keys), split)
            _warn_of_repeats(repeats, leaking, source.where)
            account = {
                "rows_of_dataset": source.n_operators,
                "rows_beyond_max_samples": source.n_operators - n_rows,
                "rows_on_no_side_of_the_split": n_rows - len(rows),
                "rows_that_repeat_others": repeats,
                "held_out_rows_that_repeat_train_rows": leaking,
                "filled_cells": {name: count for name, count in filled.items() if count},
            }
            log.info("left out and filled: %s", account)
            if chosen.series:
                account["variance_kept_of_series"] = _kept_of_series(source, chosen, rows)
            writer.write_account(account)
            for name in source.label_paths:
                writer.write_labels(name, source.labels(name, rows))
    log.info("%d rows (train, validation, test: %s)", len(rows), np.bincount(split).tolist())


def require_labels(experiment: Experiment, source: OperatorDataset) -> None:
    """Check that a dataset has the labels that rows are split by, or that are predicted later.

    Raises
    ------
    SpinlockError
        When it lacks one.
    """
    for label in experiment.labels:
        source.labels(label)


def require_color(wanted: str | None, names: Sequence[str]) -> None:
    """Check that the report can be coloured; whether the feature is kept shows later.

    Raises
    ------
    SpinlockError
        When a feature is wanted that is not among the names.
    """
    if wanted is not None and wanted not in names:
        raise SpinlockError(
            f"visualization.color_by names {wanted!r}, which is no feature of this experiment",
            remedy=nearest_names(wanted, names),
        )


def split_rows(experiment: Experiment, source: OperatorDataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that are used and which side of the split each is on.

    Raises
    ------
    SpinlockError
        When rows, groups or the published split leave a side without rows.
    """
    n_rows = experiment.rows_of(source.n_operators)
    rows, settings = np.arange(n_rows), experiment.split
    if settings.column:
        split = split_by_column(source.labels(settings.column, rows))
        return rows[split >= 0], split[split >= 0]
    fractions = settings.val_fraction, settings.test_fraction
    if settings.group_by:
        groups = source.labels(settings.group_by, rows)
        return rows, split_by_group(groups, *fractions, experiment.random_seed)
    return rows, random_split(n_rows, *fractions, experiment.random_seed)


def _warn_of_repeats(repeats: int, leaking: int, where: str) -> None:
    """Tell of rows that are not as unseen as the split says."""
    if leaking:
        log.warning(
            "%s: %d rows have the features of others, and %d rows of validation and test those "
            "of train rows: where these are the same operators, quality is none on unseen rows; "
            "remove repeats, or keep them on one side by split.group_by",
            where,
            repeats,
            leaking,
        )


def _kept_of_series(
    source: OperatorDataset, chosen: TableColumns, rows: np.ndarray
) -> dict[str, float]:
    """Return channel → share of its variance that its coefficients keep, and warn of low ones."""
    kept: dict[str, float] = {}
    for family, series in chosen.series.items():
        most = SERIES_CELLS // (series.steps * len(series.channels))
        values = _spread_sample(source, family, rows, min(max(most, LEAST_ROWS), SERIES_ROWS))
        shares = kept_variance(values, series.coefficients)
        found = {
            f"{family}/{channel}": round(float(share), 4)
            for channel, share in zip(series.channels, shares, strict=True)
            if np.isfinite(share)
        }
        low = sorted((share, name) for name, share in found.items() if share < KEPT)
        if low:
            log.warning(
                "%d of %d coefficients keep less than %.0f %% of the variance of %d channels, "
                "least %.0f %% of %s: the rest is in no token; `coefficients` of "
                "TemporalCNNEncoder says how many are kept",
                *(series.coefficients, series.steps, 100 * KEPT, len(low), 100 * low[0][0]),
                low[0][1],
            )
        kept |= found
    return kept


def _spread_sample(source: OperatorDataset, family: str, rows: np.ndarray, most: int) -> np.ndarray:
    """Return series of `most` rows: short runs from anywhere, since datasets may be sorted."""
    runs = np.array_split(rows, -(-len(rows) // LEAST_ROWS))
    chosen = sample_rows(np.arange(len(runs)), most // LEAST_ROWS, RUNS_SEED)
    return np.concatenate([source.read(family, runs[i]) for i in chosen])


def _warn_of_split(
    experiment: Experiment, source: OperatorDataset, split: np.ndarray, n_rows: int
) -> None:
    settings = experiment.split
    if settings.column:
        found = strange_sides(source.labels(settings.column, np.arange(n_rows)))
        if len(found):
            log.warning(
                "rows are left out where split.column is %s%s: 0, 1 and 2 name sides, -1 none",
                ", ".join(map(repr, found[:SHOWN].tolist())),
                ", …" if len(found) > SHOWN else "",
            )
    elif settings.group_by:
        wanted = {VALIDATION: settings.val_fraction, TEST: settings.test_fraction}
        _warn_of_shares(split, wanted)


def _warn_of_shares(split: np.ndarray, wanted: Mapping[int, float]) -> None:
    """Tell of sides that whole groups fill with far fewer or far more rows than was asked for."""
    for side, fraction in wanted.items():
        share = float((split == side).mean())
        if not fraction / FAR <= share <= fraction * FAR:
            log.warning(
                "the %s has %.1f %% of the rows, not %.1f %%: the groups of split.group_by are "
                "too few or too large",
                SPLIT_NAMES[side],
                100 * share,
                100 * fraction,
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()
