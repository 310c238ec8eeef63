"""A training that stops between any two batches goes on to the same bits."""

import pytest
import torch

from spinlock.tokenizer.state_file import read_state, write_state
from spinlock.training.loop import Trainer


class Stop(Exception):
    pass


def stop_before(batch: int, trainer: Trainer):
    def at_rest() -> None:
        if trainer.batches == batch:
            raise Stop

    return at_rest


@pytest.fixture(scope="module")
def make_trainer(make_model, make_plan, train, validation):
    def make() -> Trainer:
        plan = make_plan(num_epochs=4, scheduler="plateau", warmup_epochs=1)
        return Trainer(make_model(dropout=0.3), train, validation, plan)

    return make


@pytest.fixture(scope="module")
def whole(make_trainer) -> Trainer:
    """A training that nothing stops: four epochs of five batches."""
    made = make_trainer()
    list(made.run())
    return made


@pytest.mark.parametrize("batch", [0, 1, 4, 5, 7, 13, 19])
def test_stopped_before_any_batch_it_ends_with_the_same_bits(batch, make_trainer, whole, tmp_path):
    stopped, path = make_trainer(), tmp_path / "last.pt"
    with pytest.raises(Stop):
        list(stopped.run(stop_before(batch, stopped)))
    assert stopped.place.done == batch % 5
    write_state(path, stopped.state_dict())
    torch.manual_seed(99)
    again = make_trainer()
    again.load_state_dict(read_state(path))
    assert not again.finished
    list(again.run())
    assert again.history == whole.history
    assert again.batches == whole.batches == 20
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name
    for name, tensor in whole.best.weights.items():
        assert torch.equal(again.best.weights[name], tensor), name


def test_between_epochs_there_is_no_place(make_trainer):
    trainer = make_trainer()
    for _ in trainer.run():
        assert trainer.place is None
        assert trainer.state_dict()["place"] is None
