"""Which rows a model is measured on."""

import numpy as np
import pytest

from spinlock.analysis.rows import pair_rows, reported_side
from spinlock.features.split import TEST, TRAIN, VALIDATION


def sides(train: int, validation: int, test: int) -> np.ndarray:
    return np.repeat([TRAIN, VALIDATION, TEST], [train, validation, test])


@pytest.mark.parametrize(
    ("counts", "side"), [((5, 2, 1), TEST), ((5, 2, 0), VALIDATION), ((5, 0, 0), TRAIN)]
)
def test_what_is_reported_on_is_the_test_or_what_there_is(counts, side):
    assert reported_side(sides(*counts)) == side


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [
        ((3000, 500, 1000), {TEST}),
        ((3000, 500, 999), {TEST, VALIDATION}),
        ((3000, 500, 0), {VALIDATION}),
        ((3000, 0, 0), {TRAIN}),
    ],
)
def test_pairs_are_of_the_test_with_validation_where_it_is_few(counts, chosen):
    split = sides(*counts)
    rows = pair_rows(split, 10_000)
    assert set(split[rows]) == chosen
    assert len(np.unique(rows)) == len(rows) == np.isin(split, list(chosen)).sum()


def test_the_pairs_of_a_sorted_dataset_are_of_all_its_groups_and_the_same_again():
    split, group = np.full(10_000, TEST), np.arange(10_000) // 1000
    rows = pair_rows(split, 500)
    assert np.array_equal(rows, pair_rows(split, 500))
    for some in (rows, rows[:100]):  # also the first of them, which code_dependence is measured on
        assert set(group[some]) == set(range(10))
