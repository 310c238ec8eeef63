"""A trainer at the start from data, or where a state left off."""

import logging
from dataclasses import replace
from typing import Any

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.processes import made_once
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.model import ModelRequest, start_model
from spinlock.training.loop import Trainer, TrainingPlan

log = logging.getLogger(__name__)


def begin(
    request: ModelRequest,
    train: Rows,
    validation: Rows,
    plan: TrainingPlan,
    state: dict[str, Any] | None,
) -> Trainer:
    """Return a trainer at the start, or where `state` left off."""
    if state is None:
        model = _model(request, train, made_once(lambda: _start(request, train, validation)))
        return Trainer(model, train, validation, plan)
    trainer = Trainer(_model(request, train, state), train, validation, plan)
    trainer.load_state_dict(state)
    if trainer.place is None:
        log.info("going on after epoch %d", trainer.epoch)
    else:
        log.info("going on in epoch %d after batch %d", trainer.epoch, trainer.place.done)
    return trainer


def _start(request: ModelRequest, train: Rows, validation: Rows) -> dict[str, Any]:
    """Return the start as what can be sent to another process: sizes of books, and weights."""
    model = start_model(request, train, validation)
    weights = {name: values.cpu() for name, values in model.state_dict().items()}
    return {"book_sizes": model.quantizer.sizes.tolist(), "model": weights}


def _model(request: ModelRequest, train: Rows, state: dict[str, Any]) -> TokenizerModel:
    """Return the model that has the books and weights of a state."""
    model = TokenizerModel(replace(request.shape, book_sizes=state["book_sizes"]))
    model.load_weights(state["model"])
    return model.to(train.x.device)
