"""What is fitted again once the gradient steps are done, kept only where it helps."""

import copy
from collections.abc import Callable
from typing import Any

import torch

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.decoder_fitting import fit_decoder
from spinlock.tokenizer.start.reestimation import reestimate_books
from spinlock.tokenizer.start.validation import validation_entries

Step = Callable[[], object]


def refine(model: TokenizerModel, train: Rows, validation: Rows, seed: int) -> list[dict[str, Any]]:
    """Re-estimate the books and fit the decoder again; return one history entry per step.

    A step that does not lower the validation loss is undone, and says so.

    Parameters
    ----------
    model : TokenizerModel
        Changed in place.
    train, validation : Rows
    seed : int
        Of what fitting the decoder draws.
    """
    generator = torch.Generator().manual_seed(seed)
    steps: dict[str, tuple[Step, Callable[[TokenizerModel], Step]]] = {
        "books": (lambda: reestimate_books(model, train), _back_to_books),
        "decoder": (lambda: fit_decoder(model, train, validation, generator), _back_to_decoder),
    }
    entries = []
    train_mean = train.x.mean(dim=0)
    lowest = validation_entries(model, validation, train_mean)["val_loss"]
    for name, (do, back_to_now) in steps.items():
        undo = back_to_now(model)
        do()
        after = validation_entries(model, validation, train_mean)
        accepted = after["val_loss"] < lowest
        if accepted:
            lowest = after["val_loss"]
        else:
            undo()
        entries.append({"step": name, "accepted": accepted} | after)
    return entries


def _back_to_books(model: TokenizerModel) -> Step:
    """Return what gives a model the books that it has now."""
    books = copy.deepcopy(model.quantizer.state_dict())
    return lambda: model.quantizer.load_state_dict(books)


def _back_to_decoder(model: TokenizerModel) -> Step:
    """Return what gives a model the decoding of all levels that it has now."""
    last = model.n_levels - 1
    correction = model.decoder.correction(last)
    network = copy.deepcopy(model.decoder.network.state_dict())

    def undo() -> None:
        model.decoder.set_correction(last, *correction)
        model.decoder.network.load_state_dict(network)

    return undo
