import faiss
import numpy as np
import pytest
from sklearn.cluster import KMeans

from spinlock.analysis.baselines import (
    PrincipalScalarQuantizer,
    _lloyd_max,
    _nearest,
    compare_baselines,
    product_reconstruction,
    residual_reconstruction,
    rows_within,
)
from spinlock.analysis.metrics import gaussian_reference
from spinlock.settings.model import Model
from spinlock.tokenizer.target_metrics import quality


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


@pytest.mark.parametrize(
    ("memory", "n_columns", "n_rows"),
    [(1.0, 338, 23_358), (2.0, 338, 46_716), (1.0, 1304, 6054), (0.01, 338, 1024)],
)
def test_baselines_are_fitted_to_as_many_rows_as_fit_in_memory(memory, n_columns, n_rows):
    assert rows_within(memory, n_columns) == n_rows


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


def test_methods_learn_from_train_rows_and_are_graded_on_test_rows_about_the_train_mean():
    rng = np.random.default_rng(0)
    train = (rng.normal(size=(200, 4)) * [4, 1, 1, 1]).astype(np.float32)
    test = rng.normal(size=(50, 4)).astype(np.float32) + 1
    mean = train.mean(axis=0, dtype=np.float64)
    decoded = {
        "pca_lloyd_max": PrincipalScalarQuantizer(train).reconstruct(test, 8),
        "faiss_pq4": product_reconstruction(train, test, 2, 4),
        "faiss_rq4": residual_reconstruction(train, test, 8),
    }
    expected = {name: quality(test, rows, mean) for name, rows in decoded.items()}
    covariance = np.cov(train.astype(np.float64), rowvar=False)
    expected["gaussian_reference"] = gaussian_reference(np.linalg.eigvalsh(covariance), 8)
    found = {one.method: one.quality for one in compare_baselines(train, test, [8.0])}
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("n_values", "expected"), [(2, 0.3634), (4, 0.1175), (16, 0.009497)])
def test_scalar_quantisers_of_gaussian_scores_are_those_of_max(n_values, expected):
    scores = np.random.default_rng(0).normal(size=100_000)
    values = _lloyd_max(scores / scores.std(), n_values)  # Max (1960), table 1
    error = ((scores / scores.std() - _nearest(scores / scores.std(), values)) ** 2).mean()
    assert error == pytest.approx(expected, rel=0.03)
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("n_values", [64, 256])
@pytest.mark.parametrize("heavy", [False, True])
def test_scalar_quantisers_of_many_values_end_near_the_best(n_values, heavy):
    rng = np.random.default_rng(0)
    scores = rng.standard_t(4, size=3000) if heavy else rng.normal(size=3000)
    error = ((scores - _nearest(scores, _lloyd_max(scores, n_values))) ** 2).sum()
    best = KMeans(n_values, n_init=3, random_state=0).fit(scores[:, None]).inertia_
    assert error < 1.3 * best


def test_fewer_bits_after_more_are_as_if_there_had_never_been_more():
    x = np.random.default_rng(0).normal(size=(200, 3))
    fresh, used = PrincipalScalarQuantizer(x), PrincipalScalarQuantizer(x)
    used.reconstruct(x, 12)
    np.testing.assert_array_equal(used.reconstruct(x, 4), fresh.reconstruct(x, 4))


def test_every_next_bit_goes_where_it_lowers_the_error_most():
    x = np.random.default_rng(0).normal(size=(400, 4)) * [4.0, 3.0, 2.0, 1.0] + 5
    scalar = PrincipalScalarQuantizer(x)
    gains = -np.diff([((x - scalar.reconstruct(x, bits)) ** 2).sum() for bits in range(13)])
    assert (gains > 0).all()
    assert (np.diff(gains) < 0.05 * gains[0]).all()  # the largest first, as far as fits are exact


def test_residual_codes_are_learned_from_train_rows_alone():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(300, 4)).astype(np.float32)
    x = rng.normal(size=(50, 4)).astype(np.float32) + 100
    decoded = residual_reconstruction(train, x, 16)
    assert np.abs(decoded).max() < 50  # the train rows have nothing so far away
    np.testing.assert_allclose(residual_reconstruction(train, x[:1], 16), decoded[:1], atol=1e-5)


def test_residual_codes_are_searched_for_as_widely_as_the_tokenizers_tokens(gaussian):
    train, test = gaussian
    found = {}
    for width in (5, Model().beam_width):
        quantizer = faiss.ResidualQuantizer(12, 5, 8)
        quantizer.cp.min_points_per_centroid = 1
        quantizer.max_beam_size = width
        quantizer.train(train)
        found[width] = quantizer.decode(quantizer.compute_codes(test))
    narrow, wide = found.values()
    np.testing.assert_allclose(residual_reconstruction(train, test, 40), wide, atol=1e-5)
    mean = train.mean(axis=0)
    assert quality(test, wide, mean) > quality(test, narrow, mean)
    (compared,) = [
        one for one in compare_baselines(train, test, [40.0], beam=5) if one.method == "faiss_rq8"
    ]
    assert compared.quality == pytest.approx(quality(test, narrow, mean), abs=1e-6)


def test_the_first_books_of_residual_codes_are_told_before_the_others():
    x = np.random.default_rng(0).normal(size=(240, 6)).astype(np.float32)
    compared = compare_baselines(x, x, [4.0, 8.0, 16.0, 32.0])
    residual = [one.quality for one in compared if one.method == "faiss_rq4"]
    assert residual[0] > 0.2
    assert (np.diff(residual) > 0).all()
