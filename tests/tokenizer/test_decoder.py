"""The joint decoder against its equation, and the ridge regression that it starts from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spinlock.tokenizer.decoder import JointDecoder, ridge_correction
from spinlock.tokenizer.layout import CategoryLayout, EmbeddingDims

modest = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)
PARTITION = [np.array([0, 3, 1]), np.array([4, 2])]


def make_decoder() -> JointDecoder:
    """Return a decoder of embeddings of width 4, of which the second category has two."""
    dims = EmbeddingDims([4, 2], 4)
    return JointDecoder(CategoryLayout(PARTITION, 5), dims, n_levels=2, hidden_dim=6, dropout=0.5)


@pytest.fixture
def decoder(randomize) -> JointDecoder:
    made = make_decoder()
    return randomize(made, 0).eval()


def own_by_loop(decoder: JointDecoder, codes: Tensor) -> Tensor:
    columns = torch.empty(codes.shape[1], 5)
    for c, members in enumerate(PARTITION):
        decoded = codes[c] @ decoder.own.weight[c] + decoder.own.bias[c]
        columns[:, members.tolist()] = decoded[:, : len(members)]
    return columns


@torch.no_grad()
def test_each_column_is_decoded_by_its_own_category(decoder):
    codes = torch.randn(2, 7, 4)
    torch.testing.assert_close(decoder.decode_own(codes), own_by_loop(decoder, codes))


@torch.no_grad()
def test_a_prefix_adds_the_correction_of_its_own_level(decoder):
    codes = torch.randn(2, 7, 4)
    own = own_by_loop(decoder, codes)
    expected = own + (own - decoder.mean[0]) @ decoder.cross[0] + decoder.offset[0]
    torch.testing.assert_close(decoder(codes, 0), expected)


@torch.no_grad()
def test_the_full_depth_adds_the_network_of_all_codes(decoder):
    codes = torch.randn(2, 7, 4)
    own = own_by_loop(decoder, codes)
    linear = own + (own - decoder.mean[1]) @ decoder.cross[1] + decoder.offset[1]
    expected = linear + decoder.network(torch.cat([codes[0], codes[1][:, :2]], dim=1))
    torch.testing.assert_close(decoder(codes, 1), expected)


@torch.no_grad()
def test_correction_and_network_start_at_zero():
    fresh = make_decoder()
    fresh.own.weight.normal_()
    codes = torch.randn(2, 7, 4)
    for level in (0, 1):
        assert torch.equal(fresh(codes, level), fresh.decode_own(codes))


def problem(seed: int, noise: float, n_rows: int = 60) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return own decodings and targets that depend on them linearly: train, then held out."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(2 * n_rows, 4)) + 1
    x = own + own @ rng.normal(size=(4, 4)) + 2 + noise * rng.normal(size=(2 * n_rows, 4))
    own, x = (torch.from_numpy(values).float() for values in (own, x))
    return own[:n_rows], x[:n_rows], own[n_rows:], x[n_rows:]


def corrected(own: Tensor, fit: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    cross, offset, mean = fit
    return own + (own - mean) @ cross + offset


@modest
@given(seeds, st.floats(0, 100))
def test_the_correction_is_never_worse_on_held_out_rows_than_none(seed, noise):
    own, x, own_held_out, x_held_out = problem(seed, noise, n_rows=8)
    fit = ridge_correction(own, x, own_held_out, x_held_out)
    with_it = (x_held_out - corrected(own_held_out, fit)).square().sum()
    without = (x_held_out - own_held_out).square().sum()
    assert with_it <= without * (1 + 1e-5)


@modest
@given(seeds, st.sampled_from([0.01, 1.0, 50.0]))
def test_the_correction_is_the_ridge_solution_in_float64(seed, strength):
    own, x, *held_out = problem(seed, noise=0.1)
    cross, offset, mean = ridge_correction(own, x, *held_out, strengths=[strength])
    a = own.double().numpy() - own.double().numpy().mean(0)
    target = (x - own).double().numpy()
    gram = a.T @ a
    penalty = strength * np.trace(gram) / len(gram) * np.eye(len(gram))
    expected = np.linalg.solve(gram + penalty, a.T @ (target - target.mean(0)))
    np.testing.assert_allclose(cross, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(offset, target.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean, own.mean(0))


def test_a_linear_dependence_is_found():
    own, x, own_held_out, x_held_out = problem(0, noise=0.0)
    fit = ridge_correction(own, x, own_held_out, x_held_out)
    assert (x_held_out - corrected(own_held_out, fit)).square().mean() < 1e-3


def test_a_correction_that_held_out_rows_contradict_is_left_out():
    own, x, own_held_out, _ = problem(0, noise=0.0)
    cross, offset, _ = ridge_correction(own, x, own_held_out, own_held_out)
    assert not cross.any()
    assert not offset.any()


def test_own_decodings_without_variance_are_no_problem():
    own, x = torch.ones(9, 3), torch.randn(9, 3)
    assert all(part.isfinite().all() for part in ridge_correction(own, x, own, x))
