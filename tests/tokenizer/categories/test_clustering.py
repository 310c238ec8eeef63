"""Categories: planted ones are found, no feature is lost, and the best partition is taken."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples

from spinlock.tokenizer.categories.centroids import mean_abs_cosine
from spinlock.tokenizer.categories.clustering import discover_categories, silhouette
from spinlock.tokenizer.categories.column_tree import (
    column_distances,
    correlation_matrix,
    cut_tree,
    merge_tree,
)

modest = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def planted(seed: int, blocks: tuple[int, ...], n_rows: int = 300, noise: float = 0.3):
    """Return columns [n, D] of orthogonal causes, and the cause of each, signs at random."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n_rows, len(blocks)))
    causes = np.linalg.qr(causes - causes.mean(0))[0] * np.sqrt(n_rows)
    cause = np.repeat(np.arange(len(blocks)), blocks)
    signs = rng.choice([-1.0, 1.0], size=len(cause))
    x = causes[:, cause] * signs
    return x + noise * rng.normal(size=x.shape), cause


def as_sets(partition) -> set[frozenset[int]]:
    return {frozenset(int(i) for i in members) for members in partition}


def correlated_blocks() -> np.ndarray:
    """Columns whose best silhouette is at four blocks, of which two pairs go together."""
    rng = np.random.default_rng(0)
    pairs = np.repeat(rng.normal(size=(400, 2)), 2, axis=1) + 0.7 * rng.normal(size=(400, 4))
    return np.repeat(pairs, 4, axis=1) + 0.1 * rng.normal(size=(400, 16))


@modest
@given(seeds, st.randoms(use_true_random=False))
def test_planted_categories_are_found_for_any_order_of_columns(seed, random):
    x, cause = planted(seed, (4, 3, 5))
    order = list(range(12))
    random.shuffle(order)
    found = discover_categories(x[:, order]).partition
    expected = [[i for i, column in enumerate(order) if cause[column] == c] for c in range(3)]
    assert as_sets(found) == as_sets(expected)


@modest
@given(seeds)
def test_rank_correlation_finds_them_behind_monotonic_distortions_and_huge_values(seed):
    x, cause = planted(seed, (4, 3, 5))
    x = np.sinh(6 * x) * np.logspace(0, 9, 12)
    found = discover_categories(x, method="spearman", num_categories=3).partition
    assert as_sets(found) == as_sets(np.flatnonzero(cause == c) for c in range(3))


@modest
@given(
    seeds,
    st.integers(1, 15),
    st.none() | st.integers(1, 20),
    st.integers(1, 6),
    st.integers(2, 12),
)
def test_every_feature_is_in_exactly_one_category(
    seed, n_columns, number, min_features, max_clusters
):
    x = np.random.default_rng(seed).normal(size=(20, n_columns))
    partition = discover_categories(
        x,
        num_categories=number,
        min_features=min_features,
        max_clusters=max_clusters,
        orthogonality_target=1.0,
    ).partition
    assert sorted(np.concatenate(partition).tolist()) == list(range(n_columns))
    assert all((np.diff(members) > 0).all() for members in partition)
    assert [members[0] for members in partition] == sorted(members[0] for members in partition)
    assert len(partition) <= (number or max_clusters)
    if len(partition) > 1:
        assert min(map(len, partition)) >= min_features


def test_a_fixed_number_of_categories_is_kept_to():
    x, _ = planted(0, (4, 4, 4, 4))
    for number in (1, 2, 3, 4, 5):
        found = discover_categories(x, num_categories=number, min_features=1, max_clusters=6)
        assert len(found.partition) == number
        measured = [one.num_categories for one in found.candidates]
        assert measured == sorted({number, 2, 3, 4, 5, 6})


def test_the_best_silhouette_wins_among_those_that_are_orthogonal_enough():
    x = correlated_blocks()
    free = discover_categories(x, orthogonality_target=1.0)
    assert len(free.partition) == 4
    best = max(free.candidates, key=lambda one: one.silhouette)
    assert best.num_categories == 4
    bound = discover_categories(x, orthogonality_target=0.15)
    allowed = [one for one in bound.candidates if one.mean_abs_cosine <= 0.15]
    assert best.mean_abs_cosine > 0.15
    assert len(bound.partition) == max(allowed, key=lambda one: one.silhouette).num_categories == 2


def test_when_no_number_is_orthogonal_enough_the_lowest_is_taken_with_a_warning(caplog):
    x = correlated_blocks()
    with caplog.at_level(logging.WARNING):
        found = discover_categories(x, orthogonality_target=1e-9)
    lowest = min(found.candidates, key=lambda one: one.mean_abs_cosine)
    assert len(found.partition) == lowest.num_categories
    assert "orthogonality_target" in caplog.text


def test_the_warning_names_the_numbers_that_were_to_choose_from(caplog):
    x = correlated_blocks()
    with caplog.at_level(logging.WARNING):
        discover_categories(x, min_features=1, orthogonality_target=1e-9, useful=(3, 4))
    assert "by 3 or 4 categories; taking" in caplog.text


def test_as_many_categories_are_found_as_are_useful_where_the_columns_give_them():
    x = correlated_blocks()
    most = max(one.num_categories for one in discover_categories(x).candidates)
    for useful, wanted in (((2, 2), {2}), ((3, 3), {3}), ((3, 5), {3, 4, 5}), ((99, 100), {most})):
        found = discover_categories(x, min_features=3, orthogonality_target=0.15, useful=useful)
        assert len(found.partition) in wanted


def test_categories_are_small_by_default_where_larger_ones_would_be_fewer_than_wanted():
    x = correlated_blocks()

    def smallest(**wanted):
        return min(map(len, discover_categories(x, **wanted).partition))

    assert smallest() >= 3
    assert smallest(useful=(4, 4)) == smallest(num_categories=4) == 4
    assert smallest(useful=(6, 8)) < 3
    assert len(discover_categories(x, num_categories=7).partition) == 7
    assert len(discover_categories(x, useful=(99, 100)).partition) == 16
    assert smallest(useful=(6, 8), min_features=3) >= 3
    assert smallest(useful=(9, 9), max_clusters=4) >= 3


class Shares:
    """A demand that says what partitions can use, and divides none."""

    def __init__(self, share):
        self.share = share

    def overfull(self, partition):
        return []


def test_there_are_as_many_categories_as_use_the_bits():
    x = correlated_blocks()

    def found(size, **wanted):
        demand = Shares(lambda one: float(max(map(len, one)) <= size))
        return discover_categories(x, useful=(2, 3), demand=demand, **wanted).partition

    assert len(found(99)) in (2, 3)
    assert len(found(4)) == 4
    assert max(map(len, found(2))) == 2  # which takes smaller ones than are usual
    assert min(map(len, found(2, min_features=3))) >= 3
    assert min(map(len, found(0))) >= 3  # which none reaches: no reason for smaller ones
    assert len(found(4, num_categories=2)) == 2


def test_where_no_number_uses_all_bits_those_that_use_about_the_most_are_taken():
    x = correlated_blocks()

    def found(share, high=3):
        demand = Shares(lambda one: share(len(one)))
        return len(discover_categories(x, useful=(2, high), demand=demand).partition)

    assert found(lambda number: 0.9 - abs(number - 5) / 20) == 5
    assert found(lambda number: min(number, 4) / 10) == 4
    assert found(lambda number: min(number, 9) / 10) == 9  # with columns by themselves
    assert found(lambda number: number / 100) == len(x.T)
    assert found(lambda number: 0.9 if number in (2, 6) else 0.8, high=8) in (2, 6)
    assert found(lambda number: 1 - 0.01 * (number == 2)) in (2, 3)


def test_where_small_clusters_merge_the_tree_is_cut_further_down():
    x = np.random.default_rng(11).normal(size=(60, 14))
    correlation = correlation_matrix(x)
    assert len(cut_tree(merge_tree(correlation), correlation, 4, 3)) < 4
    assert len(discover_categories(x, num_categories=4, min_features=3).partition) == 4


def test_validation_quality_decides_where_it_is_given():
    x = correlated_blocks()
    found = discover_categories(
        x, useful=(5, 9), validation_quality=lambda partition: -abs(len(partition) - 3)
    )
    assert len(found.partition) == 3
    assert {one.num_categories: one.validation_quality for one in found.candidates}[4] == -1


def test_candidates_carry_the_measures_of_their_partition():
    x = correlated_blocks()
    found = discover_categories(x, orthogonality_target=1.0)
    chosen = next(one for one in found.candidates if one.num_categories == len(found.partition))
    assert chosen.silhouette == silhouette(column_distances(found.correlation), found.partition)
    assert chosen.mean_abs_cosine == mean_abs_cosine(x, found.partition)


def test_one_category_of_everything_is_no_choice_where_columns_give_two():
    rng = np.random.default_rng(0)
    alike = rng.normal(size=(200, 1)) + 0.1 * rng.normal(size=(200, 11))
    found = discover_categories(np.column_stack([alike, rng.normal(size=200)]))
    assert len(found.partition) > 1


def test_a_single_feature_is_a_category():
    found = discover_categories(np.arange(5.0).reshape(-1, 1))
    assert as_sets(found.partition) == {frozenset({0})}


@modest
@given(seeds, st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_silhouette_is_that_of_the_distance_one_less_the_absolute_correlation(seed, sizes):
    x = np.random.default_rng(seed).normal(size=(20, sum(sizes)))
    distance = 1 - np.abs(correlation_matrix(x))
    np.fill_diagonal(distance, 0)
    assert np.array_equal(column_distances(correlation_matrix(x)), distance)
    partition = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    labels = np.repeat(np.arange(len(sizes)), sizes)
    if len(sizes) == sum(sizes):
        assert silhouette(distance, partition) == 0
        return
    expected = silhouette_samples(distance, labels, metric="precomputed").mean()
    assert silhouette(distance, partition) == pytest.approx(expected)
