"""The error of rows that no fit sees, which decides what is kept."""

import math

import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import ROW_BLOCK, Rows


def validation_entries(model: TokenizerModel, rows: Rows, train_mean: Tensor) -> dict[str, float]:
    """Return the mean squared error of rows decoded from their tokens, and R² about a mean [D]."""
    error = float(row_errors(model, rows).sum())
    total = float(sum((x - train_mean).square().double().sum() for x in rows.x.split(ROW_BLOCK)))
    val_loss = error / max(1, rows.x.numel())
    return {"val_loss": val_loss, "val_quality": 1 - error / total if total else math.nan}


def row_errors(model: TokenizerModel, rows: Rows) -> Tensor:
    """Return the squared error [n] of each row decoded from its tokens, in float64."""
    model.eval()
    errors = [torch.empty(0, dtype=torch.float64, device=rows.x.device)]
    for block in rows.split(ROW_BLOCK):
        decoded = model.reconstruct(model.draft_tokens(block))
        errors.append((block.x - decoded).square().double().sum(dim=1))
    return torch.cat(errors)
