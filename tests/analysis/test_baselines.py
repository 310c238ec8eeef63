import numpy as np
import pytest

from spinlock.analysis.baselines import PrincipalScalarQuantizer, compare_baselines
from spinlock.analysis.metrics import quality


@pytest.fixture(scope="module")
def gaussian():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(12, 12)) * np.linspace(2, 0.1, 12)
    x = (rng.normal(size=(700, 12)) @ mixing.T).astype(np.float32)
    return x[:600], x[600:]


def test_no_method_gets_fewer_bits_than_it_is_compared_at(gaussian):
    compared = compare_baselines(*gaussian, [10.5, 24.0])
    assert {one.method for one in compared} == {
        "gaussian_reference", "pca_lloyd_max", "faiss_pq4", "faiss_pq8", "faiss_rq4", "faiss_rq8",
    }  # fmt: skip
    budgets = [10.5] * (len(compared) // 2) + [24.0] * (len(compared) // 2)
    assert all(one.bits >= budget for one, budget in zip(compared, budgets, strict=True))


def test_more_bits_mean_more_quality_and_none_beats_the_gaussian_bound_on_gaussian_data(gaussian):
    compared = compare_baselines(*gaussian, [8.0, 16.0])
    half = len(compared) // 2
    bound = {one.bits: one.quality for one in compared if one.method == "gaussian_reference"}
    for less, more in zip(compared[:half], compared[half:], strict=True):
        assert less.method == more.method
        assert more.quality > less.quality
        if less.bits in bound:
            assert less.quality <= bound[less.bits] + 0.02  # the test rows are a sample


def test_scalar_bits_go_to_the_components_that_need_them():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 3)) * [10.0, 1.0, 0.01]
    decoded = PrincipalScalarQuantizer(x).reconstruct(x, 4)
    assert quality(x[:, :1], decoded[:, :1], x[:, :1].mean(axis=0)) > 0.98
    assert quality(x[:, 2:], decoded[:, 2:], x[:, 2:].mean(axis=0)) < 0.5


def test_few_rows_leave_out_the_books_that_are_larger():
    x = np.random.default_rng(2).normal(size=(40, 6)).astype(np.float32)
    methods = {one.method for one in compare_baselines(x[:30], x[30:], [8.0])}
    assert methods == {"gaussian_reference", "pca_lloyd_max", "faiss_pq4", "faiss_rq4"}


def test_fewer_rows_than_columns_work():
    x = np.random.default_rng(3).normal(size=(30, 40)).astype(np.float32)
    compared = compare_baselines(x[:20], x[20:], [8.0])
    assert all(np.isfinite(one.quality) for one in compared)


def test_a_budget_beyond_what_few_rows_can_use_spends_what_they_can():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(20, 2))
    scalar = PrincipalScalarQuantizer(x)
    assert (scalar.reconstruct(x, 500) == scalar.reconstruct(x, 8)).all()  # 2 × 4 bits of 20 rows
    assert quality(x, scalar.reconstruct(x, 500), x.mean(axis=0)) > 0.98
