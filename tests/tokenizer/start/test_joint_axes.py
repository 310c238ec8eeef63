"""Joint axes: principal where categories share nothing, complementary where they do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf
from sklearn.datasets import make_low_rank_matrix
from torch import Tensor

from spinlock.tokenizer.start import joint_axes as module
from spinlock.tokenizer.start.category_axes import CategoryAxes, principal_axes
from spinlock.tokenizer.start.joint_axes import COOLING, SLOWER, WORTH, Channel, joint_axes

PARTITION = [[0, 1, 2], [3, 4], [5, 6, 7, 8]]
SCALES = torch.tensor([3.0, 2.0, 1.0, 2.5, 0.5, 2.0, 1.5, 1.2, 0.8])
modest = settings(deadline=None, max_examples=15)
seeds = st.integers(0, 2**32 - 1)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def correlated(seed: int, n_rows: int = 300) -> Tensor:
    """Rows of nine columns that depend on each other."""
    return (normal(seed, n_rows, 9) @ normal(seed + 1, 9, 9)).float()


def fit(x: Tensor, bits: float = 12.0, limit: int = 9) -> list[CategoryAxes]:
    return joint_axes(x, PARTITION, limit, bits, [bits] * len(PARTITION))


@modest
@given(seeds)
def test_categories_without_correlation_get_their_principal_axes(seed):
    independent, _ = torch.linalg.qr(normal(seed, 200, 9) - normal(seed, 200, 9).mean(dim=0))
    x = (independent * SCALES * 200**0.5).float()
    for joint, principal in zip(fit(x), principal_axes(x, PARTITION, 9), strict=True):
        torch.testing.assert_close(joint.mean, principal.mean)
        torch.testing.assert_close(joint.analysis, principal.analysis, rtol=1e-3, atol=2e-3)
        torch.testing.assert_close(joint.synthesis, principal.synthesis, rtol=1e-3, atol=2e-3)


@modest
@given(seeds)
def test_embeddings_of_all_dimensions_give_the_columns_back(seed):
    x = correlated(seed)
    for axes, members in zip(fit(x), PARTITION, strict=True):
        columns = x[:, members]
        again = axes.mean + axes.project(columns) @ axes.synthesis
        kept = (columns - again).var(dim=0) / columns.var(dim=0)
        assert kept.max() < 0.01, "but for directions of hardly any variance"


@modest
@given(seeds)
def test_mirrored_rows_have_the_same_axes(seed):
    x = correlated(seed)
    for one, mirrored in zip(fit(x), fit(-x), strict=True):
        torch.testing.assert_close(mirrored.analysis, one.analysis, rtol=1e-3, atol=1e-3)


@modest
@given(seeds, st.lists(st.floats(0.01, 2.0), min_size=2, max_size=5))
def test_the_posterior_is_what_all_channels_leave(seed, levels):
    x = correlated(seed).double()
    covariance = torch.cov(x.T)
    channels = [Channel(covariance, torch.tensor(members), 20.0) for members in PARTITION]
    posterior = covariance
    for level in levels:
        for one in channels:
            posterior = one.updated(posterior, level)
    precision = torch.linalg.inv(covariance)
    for one in channels:
        of_columns = one.whitening @ one.information @ one.whitening.T
        precision[one.columns[:, None], one.columns] += of_columns
    torch.testing.assert_close(posterior, torch.linalg.inv(precision), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("place", range(3))
def test_a_weight_is_what_a_little_more_error_costs_all_columns(place):
    covariance = torch.cov(correlated(3).double().T)
    channels = [Channel(covariance, torch.tensor(members), 20.0) for members in PARTITION]
    posterior = covariance
    for one in channels:
        posterior = one.updated(posterior, 0.2)
    one = channels[place]
    said = torch.linalg.inv(torch.eye(len(one.information)) + one.information)

    def cost(error: Tensor) -> float:
        """Return the squared error of all columns when that of w, told alone, is this."""
        more = torch.linalg.inv(error) - torch.eye(len(error)) - one.information
        precision = torch.linalg.inv(posterior)
        precision[one.columns[:, None], one.columns] += one.whitening @ more @ one.whitening.T
        return float(torch.linalg.inv(precision).trace())

    before = one.information
    one.updated(posterior, 0.2)  # weighs the errors as they are now
    one.information = before
    for weight, direction in zip(one.weights, one.directions.T, strict=True):
        step = 1e-6 * torch.outer(direction, direction)
        slope = (cost(said + step) - cost(said - step)) / 2e-6
        assert slope == pytest.approx(float(weight), rel=1e-3, abs=1e-6)


@modest
@given(seeds, st.floats(0.5, 30.0), st.floats(1e-6, 10.0))
def test_a_category_says_no_more_than_its_books_hold(seed, most, level):
    covariance = torch.cov(correlated(seed).double().T)
    one = Channel(covariance, torch.tensor(PARTITION[2]), most)
    one.updated(covariance, level)
    assert one.bits <= most + 1e-9
    error = torch.linalg.inv(torch.eye(len(one.information)) + one.information)
    assert one.bits == pytest.approx(-float(torch.logdet(error)) / 2 / np.log(2), abs=1e-6)
    weights = one.weights.clamp_min(level)
    assert one.bits <= float((weights / level).log2().sum()) / 2 + 1e-9


@pytest.mark.parametrize(("bits", "unit"), [(0.5, 10.0), (4.0, 1.0), (12.0, 1.0), (30.0, 1.0)])
def test_categories_together_take_the_bits_and_no_more_than_a_sweep_beyond(monkeypatch, bits, unit):
    made = []

    class Noted(Channel):
        def __init__(self, *parts):
            super().__init__(*parts)
            made.append(self)

    monkeypatch.setattr(module, "Channel", Noted)
    monkeypatch.setattr(module, "SLOW_COLUMNS", 0)
    x = correlated(3)
    x[:, :3] *= unit
    joint_axes(x, PARTITION, 9, bits, [20.0] * 3)
    # a sweep of COOLING adds half its logarithm to each of nine directions at most
    assert bits <= sum(one.bits for one in made) < bits + 9 * -np.log2(COOLING) / 2


@modest
@given(seeds, st.floats(2.0, 30.0))
def test_a_category_that_may_say_everything_fills_its_books(seed, most):
    covariance = torch.cov(correlated(seed).double().T)
    one = Channel(covariance, torch.tensor(PARTITION[2]), most)
    one.updated(covariance, 1e-9)
    assert one.bits == pytest.approx(most, rel=1e-6)


def test_categories_that_see_the_same_factors_share_them_out():
    factors = normal(0, 2000, 4) * torch.tensor([4.0, 3.0, 2.0, 1.5]).sqrt()
    both = factors @ torch.linalg.qr(normal(1, 4, 4)).Q
    x = torch.cat([both, both], dim=1).add(0.05 * normal(2, 2000, 8)).float()
    partition = [[0, 1, 2, 3], [4, 5, 6, 7]]
    joint = joint_axes(x, partition, 4, 16.0, [8.0, 8.0])
    principal = principal_axes(x, partition, 4)  # of which both tell the same two factors

    def left(axes: list[CategoryAxes]) -> float:
        """Return the share of x that two numbers of each category do not tell."""
        z = [one.project(x[:, m])[:, :2] for one, m in zip(axes, partition, strict=True)]
        known, centred = torch.cat(z, dim=1), x - x.mean(dim=0)
        told = known @ torch.linalg.lstsq(known, centred).solution
        return float((centred - told).square().sum() / centred.square().sum())

    assert left(joint) < 0.05
    assert left(principal) > 0.3


def low_rank() -> tuple[Tensor, list[list[int]]]:
    """Columns of more factors than a category has columns, and their categories."""
    x = make_low_rank_matrix(1000, 60, effective_rank=10, tail_strength=0.1, random_state=0)
    return torch.from_numpy(x / x.std(axis=0)).float(), np.arange(60).reshape(4, 15).tolist()


def expected(x: Tensor, partition: list[list[int]], cooling: float) -> float:
    covariance = module._covariance(x.double() - x.double().mean(dim=0))
    return module._cooled(covariance, partition, [12.0] * 4, 40.0, cooling)[1]


def test_the_slower_the_cooling_the_less_error_is_expected_where_factors_are_shared():
    errors = [expected(*low_rank(), cooling) for cooling in (COOLING, *SLOWER)]
    assert errors[1] < WORTH * errors[0]
    assert errors[2] < errors[1]


@pytest.mark.parametrize(
    ("worth", "most_columns", "kept"),
    [(0.0, 60, COOLING), (1.0, 59, COOLING), (1.0, 60, SLOWER[1])],
    ids=["never worth it", "too many columns", "worth it"],
)
def test_axes_are_of_the_slowest_cooling_that_is_worth_it(monkeypatch, worth, most_columns, kept):
    x, partition = low_rank()
    monkeypatch.setattr(module, "WORTH", worth)
    monkeypatch.setattr(module, "SLOW_COLUMNS", most_columns)
    axes = joint_axes(x, partition, 15, 40.0, [12.0] * 4)
    monkeypatch.setattr(module, "COOLING", kept)
    monkeypatch.setattr(module, "SLOWER", ())
    for one, other in zip(axes, joint_axes(x, partition, 15, 40.0, [12.0] * 4), strict=True):
        assert torch.equal(one.analysis, other.analysis)


def test_slower_cooling_ends_where_it_promises_no_more(monkeypatch):
    tried = []
    errors = dict(zip((COOLING, *SLOWER), (1.0, 0.99, 0.5), strict=True))

    def cooled(*given):
        tried.append(given[-1])
        return [], errors[given[-1]]

    monkeypatch.setattr(module, "_cooled", cooled)
    assert joint_axes(correlated(3), PARTITION, 9, 12.0, [12.0] * 3) == []
    assert tried == [COOLING, SLOWER[0]]


def test_narrow_embeddings_of_few_rows_and_constant_columns_are_finite():
    x = torch.cat([normal(0, 5, 7), torch.zeros(5, 2)], dim=1).float()
    for rows in (x, x[:2]):
        for axes, members in zip(fit(rows, limit=2), PARTITION, strict=True):
            assert axes.analysis.shape == (len(members), 2)
            assert axes.synthesis.shape == (2, len(members))
            assert axes.analysis.isfinite().all()
            assert axes.synthesis.isfinite().all()


def test_the_covariance_is_shrunk_as_ledoit_and_wolf_do():
    rows = normal(0, 30, 9) @ normal(1, 9, 9)
    rows -= rows.mean(dim=0)
    expected, shrinkage = ledoit_wolf(rows.numpy(), assume_centered=True)
    assert 0.01 < shrinkage < 0.99
    np.testing.assert_allclose(module._covariance(rows), expected, rtol=1e-9, atol=1e-9)


def test_of_many_rows_those_that_are_measured_are_spread_over_all(monkeypatch):
    x = correlated(3, n_rows=90)
    expected = fit(x[::3])
    monkeypatch.setattr(module, "MOST_ROWS", 40)
    for one, other in zip(fit(x), expected, strict=True):
        assert torch.equal(one.analysis, other.analysis)
