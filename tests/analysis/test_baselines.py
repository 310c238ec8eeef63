import numpy as np
import pytest

from spinlock.analysis.baselines import (
    PrincipalScalarQuantizer,
    compare_baselines,
    product_reconstruction,
    residual_reconstruction,
)
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


@pytest.mark.parametrize("n_columns", [7, 12, 30])
def test_every_book_of_a_product_quantizer_has_columns_of_its_own(n_columns):
    """With as many books as columns each value is told by itself, none by the padding."""
    x = np.random.default_rng(4).integers(0, 16, (400, n_columns)).astype(np.float32)
    decoded = product_reconstruction(x[:300], x[300:], n_columns, 8)
    np.testing.assert_allclose(decoded, x[300:], atol=0.05)  # faiss parts codes by a thousandth


def test_a_product_quantizer_uses_all_of_its_books():
    """Of 10 columns 6 books take two or one; were they cut in twos, one book would be empty."""
    x = np.random.default_rng(5).normal(size=(3000, 10)).astype(np.float32)
    decoded = product_reconstruction(x[:2000], x[2000:], 6, 4)
    error = ((decoded - x[2000:]) ** 2).mean(axis=0)
    assert error[8:].max() < 0.05 < error[:8].min()  # columns with a book for themselves
    assert quality(x[2000:], decoded, x[:2000].mean(axis=0)) > 0.85


def test_what_cannot_spend_the_bits_tells_the_most_that_it_spends():
    x = np.random.default_rng(6).normal(size=(400, 3)).astype(np.float32)
    spent = {one.method: one.bits for one in compare_baselines(x[:300], x[300:], [96.0])}
    assert spent == {
        "gaussian_reference": 96, "pca_lloyd_max": 3 * 8, "faiss_pq4": 3 * 4, "faiss_pq8": 3 * 8,
        "faiss_rq4": 96, "faiss_rq8": 96,
    }  # fmt: skip


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


def test_without_bits_every_row_is_the_train_mean(gaussian):
    train, test = gaussian[0], gaussian[1]
    decoded = residual_reconstruction(train, test, 0)
    np.testing.assert_allclose(
        decoded, np.repeat(train.mean(0)[None], len(test), axis=0), rtol=1e-5
    )
