"""A model beside quantisers that are fitted to its train rows, in R² and in what they predict."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from spinlock.analysis.baselines import (
    Baseline,
    compare_baselines,
    residual_reconstruction,
    rows_within,
)
from spinlock.analysis.probe import probe
from spinlock.analysis.rows import RowsOfSplit, reported_side
from spinlock.features.split import TRAIN, sample_rows
from spinlock.features.table import FeatureTable
from spinlock.tokenizer.tokenizer import Tokenizer

FITTED_SEED = 0  # the same train rows in every evaluation of a split

log = logging.getLogger(__name__)


def rows_to_fit(table: FeatureTable, tokenizer: Tokenizer, memory_budget: float) -> np.ndarray:
    """Return the train rows of a subset that baselines are fitted to: as many as memory allows.

    Parameters
    ----------
    table : FeatureTable
    tokenizer : Tokenizer
    memory_budget : float
        GiB that the fit may take.
    """
    train = table.rows(TRAIN)
    most = rows_within(memory_budget, len(tokenizer.kept))
    if most < len(train):
        log.info(
            "baselines are fitted to %d of %d train rows: evaluation.memory_budget",
            *(most, len(train)),
        )
    return sample_rows(train, most, FITTED_SEED)


def baselines_of(tokenizer: Tokenizer, train: np.ndarray, x: np.ndarray) -> list[Baseline]:
    """Return the baselines at the bits of each prefix of a model's levels.

    Parameters
    ----------
    tokenizer : Tokenizer
    train, x : array [n, D], [m, D]
        Normalised rows that they are fitted to, and measured on.
    """
    return compare_baselines(train, x, tokenizer.bits_by_level.cumsum().tolist())


def baselines_of_subset(
    table: FeatureTable, tokenizer: Tokenizer, fitted: np.ndarray
) -> list[Baseline]:
    """Return the baselines of the rows of a subset that are reported on, fitted to others."""
    reported = table.rows(reported_side(table.split))
    train, x = (tokenizer.normalize(table.read(rows)) for rows in (fitted, reported))
    return baselines_of(tokenizer, train, x)


def by_method(compared: Sequence[Baseline]) -> dict[str, dict[str, float | None]]:
    """Return baselines at the model's own bits, or at the most that a method can spend."""
    # of each method, the last one stays
    return {one.method: {"bits": one.bits, "quality": one.quality} for one in compared}


def probe_label(
    tokenizer: Tokenizer, rows: RowsOfSplit, labels: np.ndarray, fitted: np.ndarray
) -> dict[str, Any]:
    """Return the accuracies of predicting labels [n] from features, tokens, and faiss's codes.

    faiss's quantiser is fitted to the rows `fitted`, the predictors to all train rows.
    """
    kinds = {
        "features": rows.x,
        "tokens": tokenizer.embed(rows.tokens).reshape(len(rows.x), -1),
        "faiss_rq": residual_reconstruction(rows.x[fitted], rows.x, tokenizer.bits),
    }
    return probe(kinds, labels, rows.of(TRAIN), rows.reported)
