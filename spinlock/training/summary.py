"""The seed's four metrics, on the rows that chose the model."""

from collections.abc import Sequence

import numpy as np
import torch

from spinlock.tokenizer.categories.centroids import mean_abs_cosine
from spinlock.tokenizer.network.losses import correlation, distances
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import ROW_BLOCK, Rows

PAIR_ROWS = 2000


@torch.no_grad()
def summary_metrics(
    model: TokenizerModel, rows: Rows, train_mean: torch.Tensor, partition: Sequence[np.ndarray]
) -> dict[str, float | None]:
    """Return quality, utilization, orthogonality and topographic of rows.

    None where there is no book of several codes, no two categories, and no two distances that
    differ; 0 where rows do not vary.

    For a first look while training; the stage `evaluate` measures everything on test rows.
    """
    tokens = model.tokenize(rows)
    error, total = 0.0, 0.0
    for x, block in zip(rows.x.split(ROW_BLOCK), tokens.split(ROW_BLOCK), strict=True):
        error += float((x - model.reconstruct(block)).double().square().sum())
        total += float((x - train_mean).double().square().sum())
    used = [
        len(tokens[:, c, level].unique()) / model.quantizer.sizes[c, level]
        for c in range(tokens.shape[1])
        for level in range(tokens.shape[2])
        if model.quantizer.sizes[c, level] > 1
    ]
    first = slice(0, PAIR_ROWS)
    x = rows.x[first].double()
    i, j = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    codes = model.embed(tokens[first]).flatten(1).double()
    between = distances(x)[i, j], distances(codes)[i, j]
    varies = all(len(one) > 1 and one.std() > 0 for one in between)
    several = len(partition) > 1
    return {
        "quality": 1 - error / total if total else 0.0,
        "utilization": float(np.mean(used)) if used else None,
        "orthogonality": mean_abs_cosine(rows.x.cpu().numpy(), partition) if several else None,
        "topographic": float(correlation(*between)) if varies else None,
    }
