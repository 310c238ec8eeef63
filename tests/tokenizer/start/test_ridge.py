"""Ridge regression from moments, against its solution from the rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spinlock.tokenizer.start.ridge import STRENGTHS, Correction, Moments, ridge_correction

modest = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def problem(seed: int, noise: float, n_rows: int = 60) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return own decodings and targets that depend on them linearly: train, then held out."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(2 * n_rows, 4)) + 1
    x = own + own @ rng.normal(size=(4, 4)) + 2 + noise * rng.normal(size=(2 * n_rows, 4))
    own, x = (torch.from_numpy(values).float() for values in (own, x))
    return own[:n_rows], x[:n_rows], own[n_rows:], x[n_rows:]


def moments(own: Tensor, x: Tensor, origin: Tensor | None = None) -> Moments:
    made = Moments(own.mean(dim=0) if origin is None else origin)
    for block in zip(own.split(7), x.split(7), strict=True):
        made.add(*block)
    return made


def fitted(own: Tensor, x: Tensor, *held_out: Tensor, strengths=STRENGTHS) -> Correction:
    return ridge_correction([moments(own, x)], moments(*held_out), strengths)


def corrected(own: Tensor, fit: Correction) -> Tensor:
    cross, offset, mean = fit
    return own + (own - mean) @ cross + offset


def error_of(fit: Correction, own: Tensor, x: Tensor) -> float:
    return float((x - corrected(own, fit)).square().sum())


@modest
@given(seeds, st.floats(0, 100))
def test_the_correction_is_never_worse_on_held_out_rows_than_none(seed, noise):
    own, x, own_held_out, x_held_out = problem(seed, noise, n_rows=8)
    fit = fitted(own, x, own_held_out, x_held_out)
    without = float((x_held_out - own_held_out).square().sum())
    assert error_of(fit, own_held_out, x_held_out) <= without * (1 + 1e-5)


@modest
@given(seeds, st.sampled_from([0.01, 1.0, 50.0]))
def test_the_correction_is_the_ridge_solution_in_float64(seed, strength):
    own, x, *held_out = problem(seed, noise=0.1)
    cross, offset, mean = fitted(own, x, *held_out, strengths=[strength])
    a = own.double().numpy() - own.double().numpy().mean(0)
    target = (x - own).double().numpy()
    gram = a.T @ a
    penalty = strength * np.trace(gram) / len(gram) * np.eye(len(gram))
    expected = np.linalg.solve(gram + penalty, a.T @ (target - target.mean(0)))
    np.testing.assert_allclose(cross, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(offset, target.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean, own.mean(0), rtol=1e-6)


@modest
@given(seeds, st.integers(1, 5), st.floats(-3, 3))
def test_weights_count_as_so_many_rows_wherever_the_origin_is(seed, times, origin):
    own, x, *_ = problem(seed, noise=1.0)
    weighted = moments(own[:30], x[:30], torch.full((4,), origin)).scaled(times)
    weighted.add(own[30:], x[30:])
    rows = [*[slice(30)] * times, slice(30, None)]
    repeated = moments(*(torch.cat([values[one] for one in rows]) for values in (own, x)))
    mean, missed = repeated.means()
    torch.testing.assert_close(weighted.means(), (mean, missed), check_dtype=False)
    assert weighted.weight == repeated.weight
    for shift in (0.0, missed):
        torch.testing.assert_close(weighted.error(shift), repeated.error(shift))
    torch.testing.assert_close(
        weighted.about(mean, missed), repeated.about(mean, missed), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("origin", [-2.0, 0.0, 3.0])
def test_the_correction_is_the_same_wherever_the_origin_is(origin):
    own, x, *held_out = problem(0, noise=1.0)
    elsewhere = [moments(*rows, torch.full((4,), origin)) for rows in ((own, x), held_out)]
    found = ridge_correction(elsewhere[:1], elsewhere[1])
    torch.testing.assert_close(found, fitted(own, x, *held_out), rtol=1e-4, atol=1e-5)


def test_held_out_rows_choose_the_rows_that_are_fitted():
    own, x, *held_out = problem(0, noise=0.1)
    right, wrong = moments(own, x), moments(own, 3 * own)
    chosen_by = moments(*held_out)
    expected = ridge_correction([right], chosen_by)
    for fits in ([right, wrong], [wrong, right]):
        torch.testing.assert_close(ridge_correction(fits, chosen_by), expected)


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_the_strength_is_about_the_best_for_held_out_rows_of_another_mean(noise):
    rng = np.random.default_rng(0)
    mixing = 0.3 * rng.normal(size=(4, 4))
    parts = []
    for mean in (0, 1):
        own = rng.normal(size=(40, 4)) + mean
        parts += [own, own + own @ mixing + 0.5 + noise * rng.normal(size=own.shape)]
    own, x, *held_out = (torch.from_numpy(part).float() for part in parts)
    errors = [
        error_of(fitted(own, x, *held_out, strengths=[strength]), *held_out)
        for strength in np.logspace(-3, 2, 60)
    ]
    assert error_of(fitted(own, x, *held_out), *held_out) < 1.01 * min(errors)


@modest
@given(seeds, st.floats(-3, 3))
def test_the_error_of_moments_is_that_of_their_rows(seed, shift):
    own, x, *_ = problem(seed, noise=1.0)
    shifts = torch.tensor([shift, 0.0, 1.0, -shift], dtype=torch.float64)
    expected = (x.double() - own - shifts).square().sum()
    torch.testing.assert_close(moments(own, x).error(shifts), expected)


def test_a_linear_dependence_is_found():
    own, x, *held_out = problem(0, noise=0.0)
    assert error_of(fitted(own, x, *held_out), *held_out) < 1e-3 * held_out[1].numel()


def test_a_correction_that_held_out_rows_contradict_is_left_out():
    own, x, own_held_out, _ = problem(0, noise=0.0)
    cross, offset, _ = fitted(own, x, own_held_out, own_held_out)
    assert not cross.any()
    assert not offset.any()


@pytest.mark.parametrize("value", [1.0, 0.1])
def test_own_decodings_without_variance_are_no_problem(value):
    own = torch.full((9, 3), value)
    for seed in range(200):
        x, held_out = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(seed))
        cross, offset, _ = fitted(own, x, own, held_out)
        assert cross.abs().max() < 1e6, seed
        assert offset.isfinite().all()


@modest
@given(seeds, st.sampled_from([0.1, 1.0, 5.0, 30.0]))
def test_held_out_rows_of_another_mean_choose_the_strength_with_the_lowest_error(seed, noise):
    own, x, own_held_out, x_held_out = problem(seed, noise, n_rows=12)
    own_held_out, x_held_out = own_held_out + 2, x_held_out + 1
    a, target = (one.double().numpy() for one in (own, x - own))
    mean, offset = a.mean(0), target.mean(0)
    gram, moment = (a - mean).T @ (a - mean), (a - mean).T @ (target - offset)
    errors = [float((x_held_out - own_held_out).double().square().sum())]
    for strength in STRENGTHS:
        cross = np.linalg.solve(gram + strength * np.trace(gram) / 4 * np.eye(4), moment)
        fit = tuple(torch.from_numpy(one) for one in (cross, offset, mean))
        errors.append(error_of(fit, own_held_out, x_held_out))
    found = fitted(own, x, own_held_out, x_held_out)
    assert error_of(found, own_held_out, x_held_out) == pytest.approx(min(errors), rel=1e-4)
