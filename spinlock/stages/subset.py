"""subset: take the operators and feature families of an experiment, and split the rows.

Reads the HDF5 dataset (one file, or shards in order); writes subset.h5.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from spinlock.errors import SpinlockError
from spinlock.features.dataset import OperatorDataset, open_dataset
from spinlock.features.series import coefficient_names, describe_series
from spinlock.features.split import random_split, split_by_column, split_by_group
from spinlock.features.table import ROW_BLOCK, Column, Series, TableHeader, TableWriter
from spinlock.files import atomic_path
from spinlock.settings import Experiment
from spinlock.stages.program import execute, experiment_of, stage_parser

log = logging.getLogger(__name__)

FIELD_ENCODERS = ("InitialCNNEncoder", "InitialHybridEncoder")
SERIES_COEFFICIENTS = 16  # for encoders that do not say how many they read


def run(config: Path | Experiment, dataset: Sequence[Path], output: Path) -> None:
    """Write the subset of a dataset that an experiment uses."""
    experiment = experiment_of(config)
    with open_dataset(dataset) as source:
        families = list(experiment.families)
        source.require(families)
        n_rows = min(experiment.max_samples or source.n_operators, source.n_operators)
        if experiment.max_samples and n_rows < experiment.max_samples:
            log.warning("max_samples is %d, the dataset has %d", experiment.max_samples, n_rows)
        rows, split = _split(experiment, source, n_rows)
        header = table_header(experiment, source)
        dtype = np.result_type(*(source.families[name].dtype for name in families))
        with atomic_path(output) as temporary, h5py.File(temporary, "w") as file:
            writer = TableWriter(file, header, rows, split, dtype)
            for first in range(0, len(rows), ROW_BLOCK):
                block = rows[first : first + ROW_BLOCK]
                writer.write(first, read_table(source, header, families, block))
                if needs_fields(experiment):
                    writer.write_fields(first, initial_fields(source, block), len(rows))
            for name in source.label_paths():
                writer.write_labels(name, source.labels(name, rows))
    log.info("%d rows (train, validation, test: %s)", len(rows), np.bincount(split).tolist())


def table_header(experiment: Experiment, source: OperatorDataset) -> TableHeader:
    """Return the columns that an experiment reads of a dataset."""
    columns: list[Column] = []
    series: dict[str, Series] = {}
    for family, choice in experiment.families.items():
        layout = source.families[family]
        names = layout.column_names
        if len(layout.shape) == 2:
            steps = layout.shape[0]
            wanted = getattr(choice.encoder_params, "coefficients", SERIES_COEFFICIENTS)
            series[family] = Series(steps, min(wanted, steps), list(names))
            names = coefficient_names(list(names), series[family].coefficients)
        columns += [Column(family, name) for name in names]
    return TableHeader(columns, source.digest(), series)


def read_table(
    source: OperatorDataset, header: TableHeader, families: Sequence[str], rows: np.ndarray
) -> np.ndarray:
    """Return the table's columns [n, D] of rows of a dataset; series as their coefficients."""
    parts = []
    for family in families:
        values = source.read(family, rows)
        if family in header.series:
            values = describe_series(values, header.series[family].coefficients)
        parts.append(values)
    return np.concatenate(parts, axis=1)


def needs_fields(experiment: Experiment) -> bool:
    """Whether an encoder of the experiment reads initial fields."""
    return any(family.encoder in FIELD_ENCODERS for family in experiment.families.values())


def initial_fields(source: OperatorDataset, rows: np.ndarray) -> np.ndarray:
    """Return the initial fields [n, C, H, W] of rows; realizations are further channels."""
    fields = source.fields(rows)
    if fields is None:
        raise SpinlockError(
            "an encoder reads initial fields, and the dataset has none at /inputs/fields",
            where=source.where,
            remedy="use MLPEncoder for the family `initial`",
        )

    return np.nan_to_num(fields.reshape(len(fields), -1, *fields.shape[-2:])).astype(np.float32)


def _split(
    experiment: Experiment, source: OperatorDataset, n_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that are used and which side of the split each is on."""
    rows, settings = np.arange(n_rows), experiment.split
    if settings.column:
        split = split_by_column(source.labels(settings.column, rows))
        return rows[split >= 0], split[split >= 0]
    fractions = settings.val_fraction, settings.test_fraction
    if settings.group_by:
        groups = source.labels(settings.group_by, rows)
        return rows, split_by_group(groups, *fractions, experiment.random_seed)
    return rows, random_split(n_rows, *fractions, experiment.random_seed)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()
