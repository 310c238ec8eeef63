import dataclasses

import numpy as np
import pytest

from spinlock.analysis import evidence as evidence_module
from spinlock.analysis.evidence import (
    leading_feature,
    map_codes,
    map_operators,
    measure_distances,
    measure_reconstruction,
)
from spinlock.tokenizer.categories.centroids import category_centroids
from spinlock.tokenizer.target_metrics import code_counts, orthogonality, topographic


@pytest.fixture
def as_it_is(monkeypatch):
    """Let a map be what it is made of."""
    monkeypatch.setattr(evidence_module, "project", lambda vectors, method, seed: vectors)


def test_code_counts_add_up(evidence):
    tokens = evidence.sample.tokens
    counts = code_counts(tokens, evidence.tokenizer.codebook_sizes)
    assert all(book.sum() == len(tokens) for books in counts for book in books)
    assert [len(book) for book in counts[0]] == evidence.tokenizer.codebook_sizes[0].tolist()


def test_reconstruction_is_graded_on_the_features(evidence):
    tokenizer, tokens = evidence.tokenizer, evidence.sample.tokens[:30]
    x = tokenizer.reconstruct(tokens)
    x = x - x.mean(axis=0)
    x[:, evidence.categories["category_02"]] *= -1  # which turns its cosines
    own = measure_reconstruction(tokenizer, x, tokens, "test")
    assert own.by_feature.shape == (3, x.shape[1])
    centroids = category_centroids(x, list(evidence.categories.values()))
    cosines = centroids @ centroids.T
    assert cosines.min() < -0.1
    np.testing.assert_allclose(own.cosines, np.abs(cosines))


def test_categories_that_do_not_vary_count_as_they_do_in_the_metric(evidence):
    tokenizer, tokens = evidence.tokenizer, evidence.sample.tokens[:30]
    x = evidence.sample.x[:30].copy()
    members = list(evidence.categories.values())
    x[:, members[1]] = 0
    cosines = measure_reconstruction(tokenizer, x, tokens, "test").cosines
    assert np.isnan(cosines[1]).all()
    pairs = cosines[np.triu_indices(len(cosines), k=1)]
    assert np.nanmean(pairs) == pytest.approx(orthogonality(x, members)["mean"])


def test_reconstruction_is_graded_level_by_level_about_the_train_mean(evidence):
    tokenizer, tokens, x = evidence.tokenizer, evidence.sample.tokens[:30], evidence.sample.x[:30]
    x = x + 1  # so that the mean of these rows is another
    found = measure_reconstruction(tokenizer, x, tokens, "test")
    total = (x - tokenizer.statistics.normalized_mean).astype(np.float64) ** 2
    for level in range(3):
        error = (x - tokenizer.reconstruct(tokens, level + 1)).astype(np.float64) ** 2
        by_feature = 1 - error.sum(axis=0) / total.sum(axis=0)
        np.testing.assert_allclose(found.by_feature[level], by_feature, atol=1e-5)


def test_distances_are_those_that_the_topographic_metric_correlates(evidence):
    tokenizer, x, tokens = evidence.tokenizer, evidence.sample.x[:30], evidence.sample.tokens[:30]
    found = measure_distances(tokenizer, x, tokens)
    assert found.between_rows.shape == (30 * 29 // 2,)
    metric = topographic(x, tokenizer.embed(tokens).reshape(30, -1))
    assert np.corrcoef(found.between_rows, found.between_codes)[0, 1] == pytest.approx(metric)


def test_a_column_that_is_constant_on_these_rows_has_no_quality(evidence):
    x = evidence.sample.x[:10].copy()
    x[:, 2] = 0
    tokens = evidence.sample.tokens[:10]
    by_feature = measure_reconstruction(evidence.tokenizer, x, tokens, "test").by_feature
    assert np.isnan(by_feature[:, 2]).all()
    assert np.isfinite(np.delete(by_feature, 2, axis=1)).all()


def test_codes_are_described_by_what_they_change(evidence, as_it_is):
    tokenizer = evidence.tokenizer
    counts = [[np.roll(book, 1) for book in books] for books in evidence.counts]
    typical = np.array([[book.argmax() for book in books] for books in counts])
    assert typical.all(), "the first code of a book is the typical one of none"
    codes = map_codes(tokenizer, counts, ["tsne"], 0)
    changed = np.repeat(typical[None], len(codes.code), axis=0)
    changed[np.arange(len(changed)), codes.category, codes.level] = codes.code
    effects = tokenizer.reconstruct(changed) - tokenizer.reconstruct(typical[None])
    np.testing.assert_allclose(codes.maps["t-SNE"], effects, atol=1e-6)
    np.testing.assert_array_equal(codes.features[:, 0], np.abs(effects).argmax(axis=1))
    change = np.take_along_axis(effects, codes.features, axis=1)
    np.testing.assert_allclose(codes.change, change, atol=1e-6)


def test_every_code_that_is_used_is_mapped_with_its_count(evidence):
    codes = evidence.code_maps
    used = sum(np.count_nonzero(book) for books in evidence.counts for book in books)
    assert len(codes.code) == used
    for c, level, code, count in zip(
        codes.category, codes.level, codes.code, codes.count, strict=True
    ):
        assert count == evidence.counts[c][level][code]


def test_operators_are_mapped_by_their_code_vectors_of_all_levels(evidence, as_it_is):
    tokenizer, tokens = evidence.tokenizer, evidence.sample.tokens
    maps = map_operators(tokenizer, tokens, ["umap"], 0)
    np.testing.assert_array_equal(maps["UMAP"], tokenizer.embed(tokens).reshape(len(tokens), -1))


def test_the_least_used_codes_are_left_out_of_a_map(evidence, monkeypatch):
    monkeypatch.setattr(evidence_module, "MOST_CODES", 6)
    codes = map_codes(evidence.tokenizer, evidence.counts, [], 0)
    counts = np.sort(np.concatenate([book for books in evidence.counts for book in books]))
    assert sorted(codes.count.tolist()) == counts[-6:].tolist()


def test_too_few_points_have_no_map(evidence):
    tokens = evidence.sample.tokens[:4]
    assert map_operators(evidence.tokenizer, tokens, ["tsne"], 0) == {}
    counts = code_counts(tokens[:1], evidence.tokenizer.codebook_sizes)
    only = [[book if c + level == 0 else 0 * book for level, book in enumerate(books)]
            for c, books in enumerate(counts)]  # fmt: skip
    assert map_codes(evidence.tokenizer, only, ["tsne"], 0).maps == {}


def test_units_are_those_of_the_dataset(evidence):
    x = evidence.sample.x[:3]
    columns = np.array([4, 7])
    raw = evidence.tokenizer.denormalize(x)[:, evidence.tokenizer.kept[columns]]
    np.testing.assert_allclose(evidence.in_units(x[:, columns], columns), raw, rtol=1e-5)


def test_means_are_of_original_units_also_where_tails_are_logarithms(evidence, monkeypatch):
    statistics = evidence.tokenizer.statistics
    raw = statistics.kept[2]
    low, high = statistics.log_below.copy(), statistics.log_above.copy()
    low[raw] = statistics.center[raw] - 0.5 * statistics.scale[raw]
    high[raw] = statistics.center[raw] + 0.5 * statistics.scale[raw]
    monkeypatch.setattr(
        type(evidence.tokenizer), "statistics",
        property(lambda _: dataclasses.replace(statistics, log_below=low, log_above=high)),
    )  # fmt: skip
    x, columns = evidence.sample.x[:, [2]], np.array([2])
    rows = evidence.in_units(x, columns)
    np.testing.assert_allclose(evidence.mean_in_units(x, columns), rows.mean(axis=0), rtol=1e-6)
    assert abs(rows.mean() - evidence.in_units(x.mean(axis=0), columns)[0]) > 0.01 * rows.std()


def test_the_leading_feature_varies_most_whatever_its_mean():
    x = np.random.default_rng(0).normal(size=(50, 4))
    x[:, 2] *= 9
    x[:, 0] += 1000
    assert leading_feature(x) == 2
    x[:, 1] = 5 * x[:, 2]
    assert leading_feature(x) == 1
