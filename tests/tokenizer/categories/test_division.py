"""Categories that want too much are divided where their columns are least alike, others stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.categories.clustering import discover_categories
from spinlock.tokenizer.categories.column_tree import correlation_matrix
from spinlock.tokenizer.categories.division import divide_overfull, with_divided


class Room:
    """A demand of categories whose books hold so many columns."""

    def __init__(self, columns: int):
        self._columns = columns

    def share(self, partition):
        return sum(min(len(one), self._columns) for one in partition) / 24

    def overfull(self, partition):
        order = sorted(range(len(partition)), key=lambda c: -len(partition[c]))
        return [c for c in order if len(partition[c]) > self._columns]


def nested(seed: int = 0) -> np.ndarray:
    """Return two kinds of columns, one of sixteen in four groups and one of eight."""
    rng = np.random.default_rng(seed)
    large, small = rng.normal(size=(2, 400, 1))
    groups = np.repeat(rng.normal(size=(400, 4)), 4, axis=1)
    return np.hstack(
        [
            large + 0.5 * groups + 0.1 * rng.normal(size=(400, 16)),
            small + 0.5 * rng.normal(size=(400, 8)),
        ]
    )


def sizes(partition) -> list[int]:
    return [len(one) for one in partition]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(2, 24), st.integers(1, 5))
def test_every_column_stays_in_one_category_of_those_there_may_be(seed, room, most, smallest):
    x = np.random.default_rng(seed).normal(size=(40, 24))
    found = divide_overfull([np.arange(24)], correlation_matrix(x), most, smallest, Room(room))
    assert sorted(np.concatenate(found).tolist()) == list(range(24))
    assert [one[0] for one in found] == sorted(one[0] for one in found)
    assert len(found) <= most
    assert min(sizes(found)) >= smallest
    if smallest == 1:
        assert len(found) == most or max(sizes(found)) <= room


def test_a_category_is_divided_where_its_columns_are_least_alike():
    x = nested()
    whole = [np.arange(16), np.arange(16, 24)]
    found = divide_overfull(whole, correlation_matrix(x), 25, 1, Room(8))
    assert sizes(found)[-1] == 8
    assert all(size % 4 == 0 for size in sizes(found))
    quarters = divide_overfull(whole, correlation_matrix(x), 25, 1, Room(4))
    assert [one.tolist() for one in quarters[:4]] == [[*range(i, i + 4)] for i in (0, 4, 8, 12)]


def test_one_that_cannot_be_divided_keeps_no_other_from_it():
    x = nested()
    partition = [np.arange(16), np.arange(16, 24)]
    found = divide_overfull(partition, correlation_matrix(x), 25, 8, Room(4))
    assert sizes(found)[-1] == 8
    assert min(sizes(found)) >= 8


def test_divided_partitions_stand_for_those_of_their_number_that_use_less():
    x = nested()
    two = [np.arange(16), np.arange(16, 24)]
    by_chance = [np.arange(14), np.arange(14, 15), np.arange(15, 16), *np.split(two[1], 2)]
    given = {2: two, 5: by_chance}
    found = with_divided(given, correlation_matrix(x), 25, 1, Room(4))
    assert found[2] is two
    assert max(sizes(found[max(found)])) <= 4
    assert found[5] is by_chance


def test_the_bits_decide_which_categories_are_found():
    x = nested()
    found = discover_categories(x, useful=(2, 8), demand=Room(4), orthogonality_target=1.0)
    assert max(sizes(found.partition)) == 4
    assert sizes(discover_categories(x, useful=(2, 2)).partition) == [16, 8]


@pytest.mark.parametrize("number", [2, 3])
def test_a_number_that_is_fixed_is_kept(number):
    found = discover_categories(nested(), num_categories=number, demand=Room(4))
    assert len(found.partition) == number
