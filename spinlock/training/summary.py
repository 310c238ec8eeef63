"""The four metrics that have targets, on the rows that chose the model."""

from collections.abc import Sequence

import numpy as np
import torch

from spinlock.features.split import sample_rows
from spinlock.tokenizer import target_metrics as metrics
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import ROW_BLOCK, Rows

PAIR_ROWS = 2000
PAIRS_SEED = 0  # the same rows of the same split, whatever was trained


@torch.no_grad()
def summary_metrics(
    model: TokenizerModel, rows: Rows, train_mean: torch.Tensor, partition: Sequence[np.ndarray]
) -> dict[str, float | None]:
    """Return quality, utilization, orthogonality and topographic of rows; None where undefined.

    For a first look while training; the stage `evaluate` measures everything on test rows.
    """
    tokens = model.tokenize(rows)
    paired = sample_rows(np.arange(len(rows)), PAIR_ROWS, PAIRS_SEED)
    x, codes = rows.x.cpu().numpy(), model.embed(tokens[paired]).flatten(1).cpu().numpy()
    counts = metrics.code_counts(tokens.cpu().numpy(), np.asarray(model.quantizer.sizes))
    return {
        "quality": _quality(model, rows, tokens, train_mean.cpu().numpy()),
        "utilization": metrics.utilization(counts),
        "orthogonality": metrics.orthogonality(x, partition)["mean"],
        "topographic": metrics.topographic(x[paired], codes),
    }


def _quality(
    model: TokenizerModel, rows: Rows, tokens: torch.Tensor, train_mean: np.ndarray
) -> float | None:
    """Return the quality of rows, decoded block by block."""
    error, total = 0.0, 0.0
    for x, block in zip(rows.x.split(ROW_BLOCK), tokens.split(ROW_BLOCK), strict=True):
        decoded = model.reconstruct(block).cpu().numpy()
        errors = metrics.squared_errors(x.cpu().numpy(), decoded, train_mean)
        error, total = error + float(errors[0].sum()), total + float(errors[1].sum())
    return metrics.explained_share(error, total)
