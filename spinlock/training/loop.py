"""The training loop: what happens in an epoch, and what is kept of it."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.processes import (
    made_once,
    own_rows,
    process_count,
    process_rank,
    sum_over_processes,
    whole_batch,
)
from spinlock.tokenizer.network.products import quick_products
from spinlock.tokenizer.network.quantizer import Quantized
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.validation import validation_entries
from spinlock.training.callbacks import BestModel, CodebookUse, EarlyStopping
from spinlock.training.objective import ROW_MEANS, TERMS, LossWeights, Objective
from spinlock.training.place import EpochPlace
from spinlock.training.schedule import LearningRate
from spinlock.training.soundness import require_finite_terms, require_finite_weights

log = logging.getLogger(__name__)

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


@dataclass(frozen=True)
class TrainingPlan:
    """How to train: the settings that the loop itself needs."""

    num_epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str
    scheduler: str | None
    warmup_epochs: int
    weights: LossWeights
    input_noise: float
    early_stopping_patience: int
    early_stopping_min_delta: float
    dead_code_reset_interval: int
    dead_code_threshold: float
    dead_code_max_reset_fraction: float
    val_every_n_epochs: int
    seed: int
    compile: bool
    log_interval: int
    eval_interval: int | None


class Trainer:
    """Trains a model in place; its state can be saved and restored between batches.

    Parameters
    ----------
    model : TokenizerModel
    train, validation : Rows
    plan : TrainingPlan

    Attributes
    ----------
    epoch : int
        Epochs begun.
    place : EpochPlace or None
        Where the epoch that is running is; None between epochs.
    history : list of dict
        One entry per epoch; entry 0 is the start from data.
    best : BestModel
    """

    def __init__(self, model: TokenizerModel, train: Rows, validation: Rows, plan: TrainingPlan):
        self.model = model
        self.train_rows = train
        self.validation_rows = validation
        self.plan = plan
        self.train_mean = train.x.mean(dim=0)
        self.objective = Objective(model, plan.weights)
        self._step = _compiled(self.objective) if plan.compile else self.objective
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = OPTIMIZERS[plan.optimizer](trained, lr=plan.learning_rate, fused=True)
        self.schedule = LearningRate(
            plan.learning_rate, plan.scheduler, plan.warmup_epochs, plan.num_epochs
        )
        self.stopping = EarlyStopping(plan.early_stopping_patience, plan.early_stopping_min_delta)
        self.best = BestModel()
        self.epoch = 0
        self.place: EpochPlace | None = None
        self.batches = 0
        self.stopped = False
        self.history: list[dict[str, Any]] = []
        # one stream for everything random in training, on the CPU so that it can be saved
        self.generator = torch.Generator().manual_seed(plan.seed)

    def run(self, at_rest: Callable[[], None] = lambda: None) -> Iterator[dict[str, Any]]:
        """Train epoch by epoch, giving each history entry.

        `at_rest` is called before every batch. Then, and between epochs, the state is whole: it
        can be saved, and a training that goes on from it ends with the same bits on a CPU.
        """
        if not self.history:
            yield self._start()
        while not self.finished:
            yield self._train_epoch(at_rest)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or early stopping has ended them."""
        done = self.stopped or self.epoch >= self.plan.num_epochs
        return done and self.place is None

    def require_sound(self) -> None:
        """Check what is there of an epoch that is running, before it is saved.

        Raises
        ------
        SpinlockError
            When a loss or a weight is not a number.
        """
        if self.place is not None and self.place.done:
            require_finite_terms(torch.stack(self.place.terms), self.epoch)
            require_finite_weights(self.model, self.epoch, self.place.done)

    def _start(self) -> dict[str, Any]:
        entry = {"step": "start", "epoch": 0} | self._validate(0)
        self.history.append(entry)
        return entry

    def _train_epoch(self, at_rest: Callable[[], None]) -> dict[str, Any]:
        if self.place is None:
            self.epoch += 1
            torch.manual_seed(self._draw_seed() + process_rank())  # dropout: others, of other rows
            self.place = self._new_place()
        rate = self.schedule.at(self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        terms = self._run_batches(self.place, at_rest)
        require_finite_terms(terms, self.epoch)
        require_finite_weights(self.model, self.epoch, self.place.done)
        entry: dict[str, Any] = {"step": "epoch", "epoch": self.epoch, "learning_rate": rate}
        entry |= self._loss_entries(terms)
        entry["codes_reset"] = self.place.codes_reset
        if self._validation_is_due():
            entry["utilization"] = self.place.use.utilization().tolist()
            entry["perplexity"] = self.place.use.perplexity().tolist()
            entry |= self._validate(self.epoch)
            self.schedule.observe(entry["val_loss"])
            self.stopped = self.stopping.observe(self.epoch, entry["val_loss"])
        self.history.append(entry)
        self.place = None
        return entry

    def _new_place(self) -> EpochPlace:
        rows = self.train_rows
        order = torch.randperm(len(rows), generator=self.generator).to(rows.x.device)
        noise = torch.Generator(rows.x.device).manual_seed(self._draw_seed())
        return EpochPlace(order, noise, CodebookUse(self.model))

    def _run_batches(self, place: EpochPlace, at_rest: Callable[[], None]) -> Tensor:
        """Run what is left of an epoch's batches; return the loss terms [batches, 5] of all.

        Only saves, reports and resets wait for the device.
        """
        rows = self.train_rows
        batches = [
            index
            for index in place.order.split(self.plan.batch_size)
            if len(index) > 1  # batch statistics need two rows
        ]
        for index in batches[place.done :]:
            at_rest()
            clean = rows.take(own_rows(index))
            noisy = Rows(self._with_noise(clean.x, len(index), place.noise), clean.fields)
            # what is left over at the end would take a compilation of its own
            step = self._step if len(index) == len(batches[0]) else self.objective
            self.optimizer.zero_grad(set_to_none=True)  # which frees them before all else is held
            with quick_products(clean.x):
                terms, quantized = step(clean, noisy, len(index))
                self.objective.weighted(terms).backward()
            self._share_gradients()
            self.optimizer.step()
            self.model.quantizer.update_averages(quantized)
            if place.done == 0 and self._reset_is_due():
                whole = whole_residuals(quantized, len(index))
                place.codes_reset = self._reset_dead_codes(whole)
            place.use.add(quantized)
            place.terms.append(terms.detach())
            place.done += 1
            self.batches += 1
            self._report(terms)
        place.use.sum_over_processes()
        return share_terms(torch.stack(place.terms))

    def _with_noise(self, x: Tensor, n_rows: int, generator: torch.Generator) -> Tensor:
        """Return this process's rows with noise; that of the batch is the same in any number."""
        if not self.plan.input_noise:
            return x
        noise = x.new_empty(n_rows, x.shape[1]).normal_(generator=generator)
        return x + self.plan.input_noise * own_rows(noise)

    def _share_gradients(self) -> None:
        if process_count() > 1:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            flat = sum_over_processes(torch.cat([one.flatten() for one in gradients]))
            parts = flat.split([one.numel() for one in gradients])
            for one, part in zip(gradients, parts, strict=True):
                one.copy_(part.view_as(one))

    def _loss_entries(self, terms: Tensor) -> dict[str, float]:
        means = terms.mean(dim=0)
        named = {f"{name}_loss": value for name, value in zip(TERMS, means.tolist(), strict=True)}
        return {"train_loss": float(self.objective.weighted(means))} | named

    def _reset_is_due(self) -> bool:
        """Whether an interval of epochs is over: the one that begins trains what is moved."""
        interval, done = self.plan.dead_code_reset_interval, self.epoch - 1
        return interval > 0 and done > 0 and done % interval == 0

    def _reset_dead_codes(self, quantized: Quantized) -> int:
        moved = self.model.quantizer.reset_dead_codes(
            quantized,
            self.generator,
            threshold=self.plan.dead_code_threshold,
            max_fraction=self.plan.dead_code_max_reset_fraction,
        )
        return int(moved.sum())

    def _validation_is_due(self) -> bool:
        every = self.plan.val_every_n_epochs
        return self.epoch % every == 0 or self.epoch >= self.plan.num_epochs

    def _validate(self, epoch: int) -> dict[str, float]:
        entry = self._validation_entries()
        self.best.observe(self.model, epoch, entry["val_loss"])
        return entry

    def _validation_entries(self) -> dict[str, float]:
        """Return what one process measures, so that all decide alike when to stop."""
        return made_once(
            lambda: validation_entries(self.model, self.validation_rows, self.train_mean)
        )

    def _report(self, terms: Tensor) -> None:
        plan = self.plan
        if self.batches % plan.log_interval == 0:
            whole = share_terms(terms.detach().unsqueeze(0))[0]
            self._tell("loss", float(self.objective.weighted(whole)))
        if plan.eval_interval and self.batches % plan.eval_interval == 0:
            entry = self._validation_entries()
            self.model.train()
            self._tell("validation loss", entry["val_loss"])

    def _tell(self, name: str, value: float) -> None:
        if process_rank() == 0:
            log.info("batch %d: %s %.5f", self.batches, name, value)

    def _draw_seed(self) -> int:
        return int(torch.randint(2**31, (1,), generator=self.generator))

    def state_dict(self) -> dict[str, Any]:
        """Return all that a later run needs to go on as if it had never stopped."""
        return {
            "model": self.model.state_dict(),
            "book_sizes": self.model.quantizer.sizes.tolist(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "stopping": self.stopping.state_dict(),
            "best": self.best.state_dict(),
            "generator": self.generator.get_state(),
            "epoch": self.epoch,
            "place": None if self.place is None else self.place.state_dict(),
            "batches": self.batches,
            "stopped": self.stopped,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.stopping.load_state_dict(state["stopping"])
        self.best.load_state_dict(state["best"])
        if state["place"] is not None:
            self.place = self._new_place()
            self.place.load_state_dict(state["place"])
        self.generator.set_state(state["generator"].cpu())
        self.epoch, self.batches = state["epoch"], state["batches"]
        self.stopped, self.history = state["stopped"], state["history"]


def share_terms(terms: Tensor) -> Tensor:
    """Return the loss terms [batches, 5] of whole batches, of the parts of all processes."""
    if process_count() > 1:
        means = torch.tensor(ROW_MEANS, device=terms.device)
        terms = torch.where(means, sum_over_processes(terms.clone()), terms)
    return terms


def whole_residuals(quantized: Quantized, n_rows: int) -> Quantized:
    """Return a quantised batch with the residuals of all processes' rows."""
    whole = tuple(whole_batch(one.detach(), n_rows, dim=1) for one in quantized.residuals)
    return replace(quantized, residuals=whole)


def _compiled(objective: Objective) -> Callable[[Rows, Rows, int], tuple[Tensor, Any]]:
    """Return the compiled objective, which falls back to plain execution with one warning."""
    compiled = torch.compile(objective)
    working = True

    def step(clean: Rows, noisy: Rows, n_rows: int) -> tuple[Tensor, Any]:
        nonlocal working
        if working:
            try:
                return compiled(clean, noisy, n_rows)
            except Exception as error:
                working = False
                log.warning("torch.compile does not work here, training without: %s", error)
        return objective(clean, noisy, n_rows)

    return step
