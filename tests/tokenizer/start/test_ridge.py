"""Ridge regression from moments, against its solution from the rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spinlock.tokenizer.start.ridge import STRENGTHS, Moments, ridge_regression

modest = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)

Fit = tuple[Tensor, Tensor]


def problem(seed: int, noise: float, n_rows: int = 60) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features and targets that depend on them linearly: train, then held out."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2 * n_rows, 4)) + 1
    targets = features @ rng.normal(size=(4, 3)) + 2 + noise * rng.normal(size=(2 * n_rows, 3))
    both = (torch.from_numpy(values).float().split(n_rows) for values in (features, targets))
    return sum(zip(*both, strict=True), ())


def moments(features: Tensor, targets: Tensor) -> Moments:
    made = Moments(features.shape[1], targets.shape[1])
    for block in zip(features.split(7), targets.split(7), strict=True):
        made.add(*block)
    return made


def fitted(features: Tensor, targets: Tensor, *held_out: Tensor, strengths=STRENGTHS) -> Fit:
    return ridge_regression([moments(features, targets)], moments(*held_out), strengths)


def error_of(fit: Fit, features: Tensor, targets: Tensor) -> float:
    weights, offset = fit
    return float((targets - features.double() @ weights - offset).square().sum())


def solution(features: Tensor, targets: Tensor, strength: float) -> Fit:
    """Return the ridge solution from the rows, in float64."""
    a, b = features.double(), targets.double()
    mean, offset = a.mean(0), b.mean(0)
    gram = (a - mean).T @ (a - mean)
    penalty = strength * gram.trace() / len(gram) * torch.eye(len(gram))
    weights = torch.linalg.solve(gram + penalty, (a - mean).T @ (b - offset))
    return weights, offset - mean @ weights


@modest
@given(seeds, st.floats(0, 100))
def test_the_fit_is_never_worse_on_held_out_rows_than_none(seed, noise):
    features, targets, *held_out = problem(seed, noise, n_rows=8)
    fit = fitted(features, targets, *held_out)
    without = float(held_out[1].square().sum())
    assert error_of(fit, *held_out) <= without * (1 + 1e-5)


@modest
@given(seeds, st.sampled_from([0.01, 1.0, 50.0]))
def test_the_fit_is_the_ridge_solution_in_float64(seed, strength):
    features, targets, *held_out = problem(seed, noise=0.1)
    found = fitted(features, targets, *held_out, strengths=[strength])
    torch.testing.assert_close(found, solution(features, targets, strength))


@modest
@given(seeds, st.integers(1, 5))
def test_weights_count_as_so_many_rows(seed, times):
    features, targets, *_ = problem(seed, noise=1.0)
    weighted = moments(features[:30], targets[:30]).scaled(times)
    weighted.add(features[30:], targets[30:])
    rows = [*[slice(30)] * times, slice(30, None)]
    parts = (torch.cat([values[one] for one in rows]) for values in (features, targets))
    repeated = moments(*parts)
    means = repeated.means()
    torch.testing.assert_close(weighted.means(), means)
    assert weighted.weight == repeated.weight
    for shift in (0.0, means[1]):
        torch.testing.assert_close(weighted.error(shift), repeated.error(shift))
    expected = repeated.about(*means)
    torch.testing.assert_close(weighted.about(*means), expected, rtol=1e-9, atol=1e-9)


@modest
@given(seeds, st.integers(1, 5))
def test_moments_along_a_basis_are_those_of_features_times_it(seed, size):
    features, targets, *_ = problem(seed, noise=1.0)
    basis = torch.from_numpy(np.random.default_rng(seed).normal(size=(4, size)))
    found, expected = moments(features, targets).along(basis), Moments(size, 3)
    expected.add(features.double() @ basis, targets)
    for name, values in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), values, rtol=1e-9, atol=1e-9)


def test_held_out_rows_choose_the_rows_that_are_fitted():
    features, targets, *held_out = problem(0, noise=0.1)
    right, wrong = moments(features, targets), moments(features, features[:, :3])
    chosen_by = moments(*held_out)
    expected = ridge_regression([right], chosen_by)
    for fits in ([right, wrong], [wrong, right]):
        torch.testing.assert_close(ridge_regression(fits, chosen_by), expected)


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_the_strength_is_about_the_best_for_held_out_rows_of_another_mean(noise):
    rng = np.random.default_rng(0)
    mixing = 0.3 * rng.normal(size=(4, 4))
    parts = []
    for mean in (0, 1):
        features = rng.normal(size=(40, 4)) + mean
        parts += [features, features @ mixing + 0.5 + noise * rng.normal(size=features.shape)]
    features, targets, *held_out = (torch.from_numpy(part).float() for part in parts)
    errors = [
        error_of(fitted(features, targets, *held_out, strengths=[strength]), *held_out)
        for strength in np.logspace(-3, 2, 60)
    ]
    assert error_of(fitted(features, targets, *held_out), *held_out) < 1.01 * min(errors)


@modest
@given(seeds, st.floats(-3, 3))
def test_the_error_of_moments_is_that_of_their_rows(seed, shift):
    features, targets, *_ = problem(seed, noise=1.0)
    shifts = torch.tensor([shift, 0.0, 1.0], dtype=torch.float64)
    expected = (targets.double() - shifts).square().sum()
    torch.testing.assert_close(moments(features, targets).error(shifts), expected)


def test_a_linear_dependence_is_found():
    features, targets, *held_out = problem(0, noise=0.0)
    fit = fitted(features, targets, *held_out)
    assert error_of(fit, *held_out) < 1e-3 * held_out[1].numel()


def test_a_fit_that_held_out_rows_contradict_is_left_out():
    features, targets, features_held_out, targets_held_out = problem(0, noise=0.0)
    nothing = torch.zeros_like(targets_held_out)
    weights, offset = fitted(features, targets, features_held_out, nothing)
    assert not weights.any()
    assert not offset.any()


@pytest.mark.parametrize("value", [1.0, 0.1])
def test_features_without_variance_are_no_problem(value):
    features = torch.full((9, 3), value)
    for seed in range(200):
        both = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(seed))
        weights, offset = fitted(features, both[0], features, both[1])
        assert weights.abs().max() < 1e6, seed
        assert offset.isfinite().all()


@modest
@given(seeds, st.sampled_from([0.1, 1.0, 5.0, 30.0]))
def test_held_out_rows_of_another_mean_choose_the_strength_with_the_lowest_error(seed, noise):
    features, targets, *held_out = problem(seed, noise, n_rows=12)
    held_out = [held_out[0] + 2, held_out[1] + 1]
    errors = [float(held_out[1].double().square().sum())]
    errors += [error_of(solution(features, targets, one), *held_out) for one in STRENGTHS]
    found = fitted(features, targets, *held_out)
    assert error_of(found, *held_out) == pytest.approx(min(errors), rel=1e-4)
