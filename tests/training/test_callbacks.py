"""Early stopping, the best model, and the use of codes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.quantizer import Quantized
from spinlock.training.callbacks import BestModel, CodebookUse, EarlyStopping

modest = settings(deadline=None, max_examples=60)


def stops_at(losses: list[float], patience: int, min_delta: float, every: int = 1) -> int | None:
    """Return the epoch at which validations `every` so many epochs end the training."""
    stopping = EarlyStopping(patience, min_delta)
    for i, loss in enumerate(losses, start=1):
        if stopping.observe(i * every, loss):
            return i * every
    return None


def test_training_ends_after_patience_epochs_without_improvement():
    assert stops_at([3, 2, 1, 1, 1, 1, 1], patience=3, min_delta=0.0) == 6
    assert stops_at([3, 2, 1, 1, 1], patience=3, min_delta=0.0) is None


def test_patience_counts_epochs_not_validations():
    assert stops_at([3, 2, 2, 2, 2], patience=10, min_delta=0.0, every=5) == 20


def test_a_fall_by_less_than_min_delta_is_no_improvement():
    slow = [1.0 - 0.01 * i for i in range(20)]
    assert stops_at(slow, patience=3, min_delta=0.0) is None
    # but what is gained slowly adds up
    assert stops_at(slow, patience=3, min_delta=0.02) is None
    assert stops_at(slow, patience=3, min_delta=0.05) == 4


def test_a_loss_that_is_no_number_is_no_improvement():
    assert stops_at([1.0, math.nan, math.nan], patience=2, min_delta=0.0) == 3


@modest
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 6), st.floats(0, 0.3))
def test_training_that_ends_had_no_improvement_for_that_long(losses, patience, min_delta):
    end = stops_at(losses, patience, min_delta)
    if end is None:
        end = len(losses)
    else:
        reference = min(losses[: end - patience])
        # the reference that counts may lie min_delta above the lowest loss
        assert min(losses[end - patience : end]) >= reference - min_delta - 1e-12
    assert all(
        stops_at(losses[:n], patience, min_delta) is None for n in range(1, min(end, patience + 1))
    )


@modest
@given(st.lists(st.floats(0, 1), max_size=30), st.data())
def test_early_stopping_goes_on_from_its_state(losses, data):
    cut = data.draw(st.integers(0, len(losses)))
    whole, first, second = (EarlyStopping(4, 0.05) for _ in range(3))
    expected = [whole.observe(i, loss) for i, loss in enumerate(losses)]
    found = [first.observe(i, loss) for i, loss in enumerate(losses[:cut])]
    second.load_state_dict(first.state_dict())
    found += [second.observe(i, loss) for i, loss in enumerate(losses[cut:], start=cut)]
    assert found == expected


@pytest.fixture
def model() -> TokenizerModel:
    return TokenizerModel(
        ModelShape(
            partition=[[0, 1], [2]],
            book_sizes=[[4, 2], [2, 8]],
            column_family=["summary"] * 3,
            encoders={},
            hidden_dim=2,
        )
    )


def fill(model: TokenizerModel, value: float) -> None:
    with torch.no_grad():
        model.decoder.own.weight.fill_(value)


def test_the_model_with_the_lowest_loss_is_kept_as_it_was(model):
    best = BestModel()
    kept = []
    for epoch, loss in enumerate([0.5, 0.7, 0.3, math.nan, 0.3, 0.4]):
        fill(model, epoch)
        kept.append(best.observe(model, epoch, loss))
    assert kept == [True, False, True, False, False, False]
    assert (best.epoch, best.val_loss) == (2, 0.3)
    assert (best.weights["decoder.own.weight"] == 2).all()


def test_the_best_model_goes_on_from_its_state(model):
    best, again = BestModel(), BestModel()
    best.observe(model, 3, 0.4)
    again.load_state_dict(best.state_dict())
    assert not again.observe(model, 4, 0.5)
    assert again.observe(model, 5, 0.3)


def tokens_of(model: TokenizerModel, seed: int, n_rows: int) -> torch.Tensor:
    """Return random tokens [L, C, B]."""
    rng = np.random.default_rng(seed)
    sizes = model.quantizer.sizes.T[:, :, None]
    return torch.from_numpy(rng.integers(sizes, size=(*sizes.shape[:2], n_rows)))


def quantized_as(tokens: torch.Tensor) -> Quantized:
    return Quantized(tokens, (), (), ())


@pytest.mark.parametrize("n_rows", [1, 3, 50])
def test_use_is_counted_over_batches_without_padding(model, n_rows):
    use, batches = CodebookUse(model), [tokens_of(model, seed, n_rows) for seed in (0, 1)]
    for tokens in batches:
        use.add(quantized_as(tokens))
    counted = torch.cat(batches, dim=2).numpy()
    for level in range(2):
        for c in range(2):
            size = model.quantizer.sizes[c, level]
            share = np.bincount(counted[level, c], minlength=size) / (2 * n_rows)
            entropy = -sum(p * math.log2(p) for p in share if p)
            assert float(use.utilization()[c, level]) == pytest.approx((share > 0).mean())
            assert float(use.perplexity()[c, level]) == pytest.approx(2**entropy, rel=1e-5)


def test_codes_used_alike_have_the_perplexity_of_their_number(model):
    use = CodebookUse(model)
    tokens = torch.arange(8) % torch.from_numpy(model.quantizer.sizes.T).unsqueeze(-1)
    use.add(quantized_as(tokens))
    torch.testing.assert_close(use.perplexity(), torch.tensor([[4.0, 2.0], [2.0, 8.0]]))
    assert (use.utilization() == 1).all()
