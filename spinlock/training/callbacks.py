"""What watches a training: early stopping, the best model, codebook use."""

import copy
import math
from typing import Any

import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.processes import sum_over_processes
from spinlock.tokenizer.network.quantizer import Quantized, count_places


class EarlyStopping:
    """Stop when the validation loss has not fallen by `min_delta` for `patience` epochs."""

    def __init__(self, patience: int, min_delta: float):
        self.patience = patience
        self.min_delta = min_delta
        self.reference = math.inf
        self.since = 0

    def observe(self, epoch: int, val_loss: float) -> bool:
        """Note a validation loss; return whether to stop."""
        if val_loss < self.reference - self.min_delta:
            self.reference, self.since = val_loss, epoch
        return epoch - self.since >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return what changes during training."""
        return {"reference": self.reference, "since": self.since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.reference, self.since = state["reference"], state["since"]


class BestModel:
    """Keeps the weights with the lowest validation loss, the start included."""

    def __init__(self) -> None:
        self.val_loss = math.inf
        self.epoch = 0
        self.weights: dict[str, Tensor] = {}

    def observe(self, model: TokenizerModel, epoch: int, val_loss: float) -> bool:
        """Keep the model when its validation loss is the lowest so far; return whether it is."""
        if not val_loss < self.val_loss:
            return False
        self.val_loss, self.epoch = val_loss, epoch
        self.weights = copy.deepcopy(model.state_dict())
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return what changes during training."""
        return {"val_loss": self.val_loss, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.val_loss, self.epoch = state["val_loss"], state["epoch"]
        self.weights = state["weights"]


class CodebookUse:
    """Counts how often each code was taken, without leaving the device.

    Attributes
    ----------
    all_counts : Tensor [C, sum of widths]
        Of all levels side by side.
    """

    def __init__(self, model: TokenizerModel):
        self._quantizer = model.quantizer
        self.all_counts = torch.zeros_like(self._quantizer.all_counts)

    def add(self, quantized: Quantized) -> None:
        """Count the tokens of a batch."""
        count_places(self.all_counts, self._quantizer.places(quantized.tokens))

    def sum_over_processes(self) -> None:
        """Take in what the other processes counted."""
        sum_over_processes(self.all_counts)

    @property
    def counts(self) -> tuple[Tensor, ...]:
        """Counts [C, K] of each level."""
        return self.all_counts.split(self._quantizer.widths, dim=1)

    def utilization(self) -> Tensor:
        """Return the fraction of each book's codes that were used [C, L]."""
        used = torch.stack([(counts > 0).sum(1) for counts in self.counts], dim=1)
        return used / torch.as_tensor(self._quantizer.sizes, device=used.device)

    def perplexity(self) -> Tensor:
        """Return 2^entropy of each book's use [C, L]."""
        columns = []
        for counts in self.counts:
            share = counts / counts.sum(1, keepdim=True).clamp_min(1)
            columns.append(torch.special.entr(share).sum(1).exp())
        return torch.stack(columns, dim=1)
