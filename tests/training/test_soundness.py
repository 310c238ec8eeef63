"""Losses and weights that are no numbers are told with their place."""

import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.training.loop import Trainer
from spinlock.training.soundness import require_finite_terms, require_finite_weights


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_first_batch_and_term_that_is_no_number_is_named(value):
    terms = torch.ones(6, 5)
    require_finite_terms(terms, 3)
    terms[4, 0] = terms[2, 1] = value
    with pytest.raises(SpinlockError, match=f"the vq loss became {value} in epoch 3, batch 3"):
        require_finite_terms(terms, 3)


@pytest.mark.parametrize("name", ["quantizer.all_counts", "decoder.own.bias"])
def test_weights_and_buffers_that_are_no_numbers_are_named(make_model, name):
    model = make_model()
    require_finite_weights(model, 2, 7)
    model.state_dict()[name].view(-1)[-1] = torch.nan
    with pytest.raises(SpinlockError, match=rf"{name} .* in epoch 2, after batch 7"):
        require_finite_weights(model, 2, 7)


def test_a_trainer_between_epochs_has_nothing_to_check(make_model, make_plan, train, validation):
    trainer = Trainer(make_model(), train, validation, make_plan())
    trainer.require_sound()
    next(trainer.run())
    trainer.require_sound()
