"""The learning rate of each epoch."""

import math
from typing import Any

STEP_EPOCHS = 0.3  # `step` falls tenfold after each of these fractions of the epochs
STEP_FACTOR = 0.1
PLATEAU_FACTOR = 0.5
PLATEAU_VALIDATIONS = 5
PLATEAU_DELTA = 1e-4  # relative improvement that counts


class LearningRate:
    """Linear warm-up, then constant, cosine, step or plateau.

    Parameters
    ----------
    base : float
        Learning rate of the settings.
    kind : str or None
        None, "cosine", "step" or "plateau".
    warmup_epochs, num_epochs : int
    """

    def __init__(self, base: float, kind: str | None, warmup_epochs: int, num_epochs: int):
        self.base = base
        self.kind = kind
        self.warmup_epochs = warmup_epochs
        self.num_epochs = num_epochs
        self.factor = 1.0
        self.lowest = math.inf
        self.stale = 0

    def at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 1."""
        if epoch <= self.warmup_epochs:
            return self.base * epoch / (self.warmup_epochs + 1)
        length = max(1, self.num_epochs - self.warmup_epochs)
        progress = (epoch - self.warmup_epochs - 1) / length
        if self.kind == "cosine":
            return self.base * 0.5 * (1 + math.cos(math.pi * progress))
        if self.kind == "step":
            return self.base * STEP_FACTOR ** int(progress / STEP_EPOCHS)
        return self.base * self.factor

    def observe(self, val_loss: float) -> None:
        """Tell the schedule of a validation; `plateau` lowers the rate when none improves."""
        if self.kind != "plateau":
            return
        if val_loss < self.lowest * (1 - PLATEAU_DELTA):
            self.lowest, self.stale = val_loss, 0
            return
        self.stale += 1
        if self.stale >= PLATEAU_VALIDATIONS:
            self.factor *= PLATEAU_FACTOR
            self.stale = 0

    def state_dict(self) -> dict[str, Any]:
        """Return what changes during training."""
        return {"factor": self.factor, "lowest": self.lowest, "stale": self.stale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.factor, self.lowest, self.stale = state["factor"], state["lowest"], state["stale"]
