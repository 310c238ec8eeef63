"""normalize: fit cleaning and normalisation of the columns, on train rows only.

Reads subset.h5; writes feature_statistics.npz.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spinlock.errors import located, memory_for
from spinlock.features.split import TRAIN
from spinlock.features.table import FeatureTable
from spinlock.program import execute, experiment_of, stage_parser
from spinlock.results.training_files import write_statistics
from spinlock.settings import Experiment
from spinlock.tokenizer.normalization.fitting import fit_statistics
from spinlock.tokenizer.normalization.statistics import FeatureStatistics, Reason

log = logging.getLogger(__name__)

HEAVY_TAILED = 0.05  # share of the train values beyond the caps
NAMED = 3


@memory_for("normalize", "lower max_samples, or give the job more memory")
def run(config: Path | Experiment, subset: Path, output: Path) -> None:
    """Fit the statistics of a subset and write them."""
    experiment = experiment_of(config)
    with FeatureTable(subset) as table:
        rows = table.rows(TRAIN)
        with located(subset):
            statistics = fit_statistics(
                lambda columns, part: table.read(rows[part], columns),
                len(rows),
                len(table.columns),
                experiment.feature_cleaning,
                experiment.normalization_method,
                scale_groups=series_channels(table),
            )
    log.info("columns and cells: %s", statistics.summary())
    names = [column.full_name for column in table.columns]
    _warn_of_caps(statistics, names, len(rows))
    _warn_of_flat_columns(statistics, names)
    write_statistics(statistics, output)


def _warn_of_caps(statistics: FeatureStatistics, names: Sequence[str], n_rows: int) -> None:
    share = statistics.capped[statistics.kept] / n_rows
    if share.mean() > HEAVY_TAILED:
        heaviest = np.argsort(-share, kind="stable")[:NAMED]
        log.warning(
            "%.0f %% of the train values are beyond the caps (most: %s): tokens tell nothing of "
            "how far beyond; with feature_cleaning.outliers: log, or logarithms of such features, "
            "they do",
            100 * share.mean(),
            ", ".join(f"{names[statistics.kept[i]]} {share[i]:.0%}" for i in heaviest),
        )


def _warn_of_flat_columns(statistics: FeatureStatistics, names: Sequence[str]) -> None:
    flat = np.flatnonzero(statistics.reason == Reason.NEARLY_CONSTANT)
    if len(flat):
        log.warning(
            "%d features take many values, but vary by less than "
            "feature_cleaning.variance_tolerance of their magnitude, and are dropped: %s%s; take "
            "their offset away, or lower it",
            len(flat),
            ", ".join(names[i] for i in flat[:NAMED]),
            ", …" if len(flat) > NAMED else "",
        )


def series_channels(table: FeatureTable) -> list[np.ndarray]:
    """Return the columns of each channel of each family of series."""
    groups = []
    for family, series in table.series.items():
        columns = [i for i, column in enumerate(table.columns) if column.family == family]
        groups += list(np.array(columns).reshape(-1, series.coefficients))
    return groups


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--subset", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()
