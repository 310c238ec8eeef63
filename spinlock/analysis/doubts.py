"""What metrics hide, which readers of them are told."""

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from spinlock.analysis.metrics import dominant_feature, hidden_by_caps
from spinlock.analysis.rows import RowsOfSplit
from spinlock.analysis.unlike_data import warn_of_unlike_data

FEW_ROWS = 30  # below, a metric is hardly one
FALL = 0.01  # of R² from one level to the next: more is told

log = logging.getLogger(__name__)


def tell_doubts(measured: Mapping[str, Any], rows: RowsOfSplit, where: object) -> None:
    """Warn of what the metrics of rows of a dataset hide.

    Parameters
    ----------
    measured : mapping
        What `measure` returns of the rows.
    rows : RowsOfSplit
    where : object
        The dataset.
    """
    _warn_of_few_rows(len(rows.reported))
    _warn_of_falling_levels(measured["quality_by_level"])
    _warn_of_one_feature(measured["quality_by_feature"])
    cells = max(rows.x.size, 1)
    imputed, capped = (
        count.sum() / cells for count in (rows.altered.imputed_cells, rows.altered.capped_cells)
    )
    if not warn_of_unlike_data(imputed, capped, where):
        _warn_of_caps(measured)


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
