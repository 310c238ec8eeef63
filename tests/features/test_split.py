"""The split of the rows: fractions, whole groups, and published splits."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.features.split import (
    SPLIT_NAMES,
    TEST,
    TRAIN,
    VALIDATION,
    random_split,
    sample_rows,
    split_by_column,
    split_by_group,
    strange_sides,
)

FRACTIONS = st.sampled_from([0.0, 0.01, 0.1, 0.2, 1 / 3, 0.45])
SEEDS = st.integers(0, 2**31 - 1)


def test_sides_have_names():
    names = [SPLIT_NAMES[side] for side in (TRAIN, VALIDATION, TEST)]
    assert names == ["train", "validation", "test"]


def share(split: np.ndarray, side: int) -> float:
    return float((split == side).mean())


@settings(deadline=None)
@given(st.integers(4, 400), FRACTIONS, FRACTIONS, SEEDS)
def test_fractions_are_kept_to_the_row(n_rows, validation, test, seed):
    counts = {
        side: max(1, round(n_rows * fraction)) if fraction else 0
        for side, fraction in ((VALIDATION, validation), (TEST, test))
    }
    assume(n_rows - sum(counts.values()) >= 2)
    split = random_split(n_rows, validation, test, seed)
    assert {side: int((split == side).sum()) for side in counts} == counts
    assert np.isin(split, [TRAIN, VALIDATION, TEST]).all()


@settings(deadline=None)
@given(st.integers(10, 200), SEEDS)
def test_a_split_is_decided_by_its_seed(n_rows, seed):
    split = random_split(n_rows, 0.2, 0.2, seed)
    np.testing.assert_array_equal(split, random_split(n_rows, 0.2, 0.2, seed))


def test_another_seed_gives_another_split():
    assert (random_split(100, 0.2, 0.2, 0) != random_split(100, 0.2, 0.2, 1)).any()


def test_every_row_is_drawn_as_often_as_any_other():
    drawn = np.mean([random_split(40, 0.1, 0.2, seed) == TEST for seed in range(1000)], axis=0)
    assert np.abs(drawn - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 1000)


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3])
def test_too_few_rows_are_refused(n_rows):
    with pytest.raises(SpinlockError, match="too few"):
        random_split(n_rows, 0.1, 0.1, 0)


def test_fractions_that_leave_no_rows_to_train_on_are_told():
    with pytest.raises(
        SpinlockError, match=r"40 rows are too few.* 20 are .* 20 to test"
    ) as caught:
        random_split(40, 0.49, 0.49, 0)
    assert "val_fraction" in caught.value.remedy


GROUPS = st.lists(st.integers(0, 12), min_size=6, max_size=300)


@settings(deadline=None)
@given(GROUPS, FRACTIONS, FRACTIONS, SEEDS)
def test_whole_groups_go_to_one_side_and_every_wanted_side_has_one(groups, validation, test, seed):
    wanted = {TRAIN} | {s for s, part in ((VALIDATION, validation), (TEST, test)) if part > 0}
    assume(len(set(groups)) >= len(wanted))
    groups = np.repeat(groups, 2)  # since one row is not enough to train on
    split = split_by_group(groups, validation, test, seed)
    assert set(split.tolist()) == wanted
    for group in set(groups.tolist()):
        assert len(set(split[groups == group].tolist())) == 1


@settings(deadline=None)
@given(st.integers(20, 60), st.integers(1, 9), SEEDS)
def test_groups_of_one_size_fill_a_side_as_exactly_as_they_can(n_groups, size, seed):
    groups = np.repeat(np.arange(n_groups), size)
    split = split_by_group(groups, 0.1, 0.2, seed)
    for side, fraction in ((VALIDATION, 0.1), (TEST, 0.2)):
        assert abs(share(split, side) - fraction) <= 0.5 / n_groups + 1e-12


@settings(deadline=None)
@given(st.integers(200, 5000), st.sampled_from([0.05, 0.1, 0.2]), SEEDS)
def test_a_group_of_most_rows_is_trained_on(size, fraction, seed):
    groups = np.concatenate([np.zeros(size, int), np.repeat(np.arange(1, 21), 10)])
    split = split_by_group(groups, fraction, fraction, seed)
    assert (split[:size] == TRAIN).all()
    assert share(split, TEST) <= fraction + 10 / len(groups)


def test_a_group_that_overshoots_by_as_much_as_it_fills_is_taken():
    groups = np.repeat(np.arange(3), [70, 20, 10])
    tests = [groups[split_by_group(groups, 0.0, 0.1, seed) == TEST] for seed in range(20)]
    assert {tuple(set(test.tolist())) for test in tests} == {(1,), (2,)}  # whichever comes first


@settings(deadline=None)
@given(SEEDS)
def test_a_side_that_no_group_fits_gets_the_smallest(seed):
    groups = np.repeat(np.arange(4), [50, 40, 31, 30])
    split = split_by_group(groups, 0.01, 0.01, seed)
    sides = [split[groups == group][0] for group in range(4)]
    assert sides == [TRAIN, TRAIN, VALIDATION, TEST]


def test_every_group_is_drawn_as_often_as_any_other():
    groups = np.arange(20)
    drawn = np.mean([split_by_group(groups, 0.1, 0.2, seed) == TEST for seed in range(400)], axis=0)
    assert np.abs(drawn - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 400)


@settings(deadline=None)
@given(GROUPS, st.integers(0, 2**31 - 1), SEEDS)
def test_the_order_of_the_rows_does_not_move_a_group(groups, shuffle, seed):
    assume(len(set(groups)) >= 3)
    groups = np.array(groups)
    order = np.random.default_rng(shuffle).permutation(len(groups))
    split = split_by_group(groups, 0.2, 0.2, seed)
    np.testing.assert_array_equal(split_by_group(groups[order], 0.2, 0.2, seed), split[order])


def test_groups_that_leave_one_row_to_train_on_are_refused():
    groups = np.array([0, 1, 2])
    with pytest.raises(SpinlockError, match="leaves one row to train on"):
        split_by_group(groups, 0.3, 0.3, 0)
    split_by_group(np.repeat(groups, 2), 0.3, 0.3, 0)


def test_groups_may_be_text():
    groups = np.array(["lorenz", "rössler", "chua", "chen"] * 5)
    split = split_by_group(groups, 0.25, 0.25, 0)
    assert sorted(np.bincount(split).tolist()) == [5, 5, 10]


@pytest.mark.parametrize(
    ("n_groups", "validation", "test"), [(1, 0.1, 0.1), (2, 0.1, 0.1), (1, 0.1, 0.0), (0, 0.1, 0.1)]
)
def test_too_few_groups_are_refused(n_groups, validation, test):
    groups = np.repeat(np.arange(n_groups), 10)
    with pytest.raises(SpinlockError, match=f"names {n_groups} groups"):
        split_by_group(groups, validation, test, 0)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u4", "i8", "u8", ">i8"])
def test_a_published_split_is_taken_as_it_is(dtype):
    published = np.array([0, 1, 2, 2, 3, 100, 0], dtype)
    assert split_by_column(published).tolist() == [0, 1, 2, 2, -1, -1, 0]


def test_sides_may_be_numbers_as_text():
    published = np.array(["0", "1 ", "2", "-1", "7", "0"])
    assert split_by_column(published).tolist() == [0, 1, 2, -1, -1, 0]
    assert strange_sides(published).tolist() == ["7"]


def test_values_that_name_no_side_are_not_used():
    published = np.array([0, 1, 2, -1, -5, 256, 257, 2**40, 0])
    assert split_by_column(published).tolist() == [0, 1, 2, -1, -1, -1, -1, -1, 0]


@pytest.mark.parametrize(
    ("published", "said"),
    [([1, 2], "train"), ([0, 2], "validation"), ([0, 1], "test")],
)
def test_a_published_split_with_an_empty_side_is_refused(published, said):
    with pytest.raises(SpinlockError, match=f"no {said} row"):
        split_by_column(np.array(published))


@pytest.mark.parametrize("published", [[0, 1, 2, 3, 4, 5, 17], ["train", "val", *"abcd", "test"]])
def test_groups_in_the_place_of_sides_are_refused(published):
    with pytest.raises(SpinlockError, match=r"names no side in most rows, but (3, 4|a, b)"):
        split_by_column(np.array(published))


def test_a_single_train_row_is_refused():
    with pytest.raises(SpinlockError, match="a single train row"):
        split_by_column(np.array([1, 1, 0, 2, 2]))


@pytest.mark.parametrize("dtype", ["i1", "u2", "i8", "u8"])
def test_values_that_name_no_side_are_found(dtype):
    assert strange_sides(np.array([0, 1, 2, 1, 0], dtype)).tolist() == []
    assert strange_sides(np.array([7, 1, 2, 3, 7], dtype)).tolist() == [3, 7]
    assert strange_sides(np.array([-1, 1, -2])).tolist() == [-2]


def test_sides_may_be_named():
    published = np.array(["Train", "train ", "val", "validation", "TEST", "", "dev", "other"])
    assert split_by_column(published).tolist() == [0, 0, 1, 1, 2, -1, -1, -1]
    assert strange_sides(published).tolist() == ["dev", "other"]
    with pytest.raises(SpinlockError, match="no test row"):
        split_by_column(published[:4])


@pytest.mark.parametrize("published", [[0.0, 1.0, 2.0], [True, False]])
def test_a_published_split_of_another_type_is_refused(published):
    with pytest.raises(SpinlockError, match="must hold integers"):
        split_by_column(np.array(published))


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 60), SEEDS)
def test_sampled_rows_are_different_ones_in_their_order(n_rows, most, seed):
    rows = 3 * np.arange(n_rows)
    sample = sample_rows(rows, most, seed)
    assert len(sample) == min(n_rows, most)
    assert (np.diff(sample) > 0).all()
    assert set(sample) <= set(rows)


def test_every_row_is_sampled_as_often_as_any_other():
    rows = np.arange(40)
    drawn = [np.isin(rows, sample_rows(rows, 8, seed)) for seed in range(400)]
    assert np.abs(np.mean(drawn, axis=0) - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 400)
