"""Whether a training still computes with numbers: what is not sound is never saved."""

import torch
from torch import Tensor

from spinlock.errors import SpinlockError
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.training.objective import TERMS


def require_finite_terms(terms: Tensor, epoch: int) -> None:
    """Check the loss terms [batches, 5] of an epoch.

    Raises
    ------
    SpinlockError
        When one is not a number: names the first, its epoch and batch.
    """
    finite = torch.isfinite(terms)
    if not bool(finite.all()):
        batch, term = (~finite).nonzero()[0].tolist()
        raise SpinlockError(
            f"the {TERMS[term]} loss became {terms[batch, term].item()} in epoch {epoch}, "
            f"batch {batch + 1}",
            remedy="lower training.learning_rate or the weight of this term; "
            "the last good checkpoint is kept",
        )


def require_finite_weights(model: TokenizerModel, epoch: int, batches: int) -> None:
    """Check weights and buffers after so many batches of an epoch.

    Raises
    ------
    SpinlockError
        When one is not a number, as a gradient may make it before any loss shows it.
    """
    name = model.not_finite()
    if name is not None:
        raise SpinlockError(
            f"the weights {name} are no numbers any more in epoch {epoch}, after batch {batches}",
            remedy="lower training.learning_rate; the last good checkpoint is kept",
        )
