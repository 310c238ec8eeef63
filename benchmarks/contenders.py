"""The programs whose training is compared: each runs epochs on the same rows."""

import dataclasses
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.naive_model import NaiveModel
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import Rows
from spinlock.training.loop import Trainer, TrainingPlan
from spinlock.training.objective import TERMS


class Contender(ABC):
    """A model in training."""

    @abstractmethod
    def train(self) -> None:
        """Run the batches of an epoch."""

    @abstractmethod
    def epoch(self) -> None:
        """Run the batches of an epoch and measure what is measured each epoch."""

    @property
    @abstractmethod
    def val_loss(self) -> float:
        """Mean squared error of validation rows decoded from their tokens."""


class Ours(Contender):
    """The package's own trainer, validating in the epochs that are to be measured."""

    def __init__(self, model: TokenizerModel, train: Rows, validation: Rows, plan: TrainingPlan):
        endless = 10**9
        self._silent = dataclasses.replace(
            plan, num_epochs=endless, val_every_n_epochs=endless, early_stopping_patience=endless
        )
        self._measured = dataclasses.replace(self._silent, val_every_n_epochs=1)
        self.trainer = Trainer(model, train, validation, self._silent)
        self._epochs = self.trainer.run()
        next(self._epochs)

    def train(self) -> None:
        """Run the batches of an epoch."""
        self.trainer.plan = self._silent
        next(self._epochs)

    def epoch(self) -> None:
        """Run an epoch with its validation."""
        self.trainer.plan = self._measured
        next(self._epochs)

    @property
    def val_loss(self) -> float:
        """The last validation's."""
        entries = [entry for entry in self.trainer.history if "val_loss" in entry]
        return entries[-1]["val_loss"]


class PlainLoop(Contender):
    """The usual loop around a module that gives loss terms: a DataLoader, Adam, `.item()`."""

    def __init__(self, model: nn.Module, train: Rows, validation: Rows, plan: TrainingPlan):
        self.model = model
        self.weights = {name: getattr(plan.weights, name) for name in TERMS}
        self.noise = plan.input_noise
        self.batches = DataLoader(TensorDataset(train.x), plan.batch_size, shuffle=True)
        self.held_out = DataLoader(TensorDataset(validation.x), plan.batch_size)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=plan.learning_rate)
        self.losses: list[dict[str, float]] = []

    def train(self) -> None:
        """Run the batches of an epoch."""
        self.model.train()
        for (x,) in self.batches:
            terms = self.model(x, x + self.noise * torch.randn_like(x))
            loss = sum(self.weights[name] * term for name, term in terms.items())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.losses.append({name: term.item() for name, term in terms.items()})

    def epoch(self) -> None:
        """Run an epoch with its metrics."""
        self.train()
        self.measured = self.measure()

    def measure(self) -> dict[str, float]:
        """Return the metrics of an epoch: one pass over the validation rows."""
        return {"val_loss": self._validation_loss()}

    @property
    def val_loss(self) -> float:
        """The last measured epoch's."""
        return self.measured["val_loss"]

    @torch.no_grad()
    def _validation_loss(self) -> float:
        self.model.eval()
        error, count = 0.0, 0
        for (x,) in self.held_out:
            error += (x - self.model.reconstruct(x)).square().sum().item()
            count += x.numel()
        return error / count


class NaiveLoop(PlainLoop):
    """The usual loop, whose metrics are three passes.

    Quality and topographic on validation rows; utilization on train rows, which ours counts
    while it trains.
    """

    model: NaiveModel

    def measure(self) -> dict[str, float]:
        """Return the metrics of an epoch."""
        return {
            "val_loss": self._validation_loss(),
            "utilization": self._utilization(),
            "topographic": self._topographic(),
        }

    @torch.no_grad()
    def _utilization(self) -> float:
        self.model.eval()
        used: list[Tensor] = []
        for (x,) in self.batches:
            taken = [one.sum(dim=0) > 0 for books in self.model.encodings(x) for one in books]
            used = [a | b for a, b in zip(used, taken, strict=True)] if used else taken
        return sum(one.float().mean().item() for one in used) / len(used)

    @torch.no_grad()
    def _topographic(self) -> float:
        self.model.eval()
        rows = torch.cat([x for (x,) in self.held_out])
        codes = torch.cat([self.model.code_vectors(x) for (x,) in self.held_out])
        pairs = torch.stack([torch.pdist(rows), torch.pdist(codes)])
        return torch.corrcoef(pairs)[0, 1].item()
