"""Families of a dataset as the columns of one table."""

from collections import Counter

import numpy as np
import pytest

from spinlock.errors import SpinlockError
from spinlock.features.columns import (
    choose_columns,
    finite_fields,
    read_columns,
    read_fields,
)
from spinlock.features.dataset import open_dataset
from spinlock.features.series import restore_series


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "features/summary/aggregated/features": rng.normal(size=(6, 3)),
        "features/temporal/features": rng.normal(size=(6, 20, 2)),
        "features/short/features": rng.normal(size=(6, 5, 1)),
    }


def test_columns_follow_the_families_in_the_order_asked_for(write_h5, arrays):
    with open_dataset(write_h5(arrays)) as source:
        chosen = choose_columns(source, ["temporal", "summary"], {"temporal": 2})
        assert [column.full_name for column in chosen.columns] == [
            "temporal/temporal_0/dct_00",
            "temporal/temporal_0/dct_01",
            "temporal/temporal_1/dct_00",
            "temporal/temporal_1/dct_01",
            "summary/summary_0",
            "summary/summary_1",
            "summary/summary_2",
        ]
        assert chosen.families == ["temporal", "summary"]
        table = read_columns(source, chosen, np.array([1, 4]))
    np.testing.assert_array_equal(
        table[:, 4:], arrays["features/summary/aggregated/features"][[1, 4]]
    )
    assert table.shape == (2, 7)


@pytest.mark.parametrize(("wanted", "kept"), [(None, 16), (3, 3), (20, 20), (99, 20)])
def test_a_series_keeps_the_coefficients_that_are_wanted_and_possible(
    write_h5, arrays, wanted, kept
):
    with open_dataset(write_h5(arrays)) as source:
        chosen = choose_columns(source, ["temporal"], {"temporal": wanted})
        table = read_columns(source, chosen, np.arange(6))
    series = chosen.series["temporal"]
    assert (series.steps, series.coefficients) == (20, kept)
    assert table.shape == (6, 2 * kept)
    if kept == 20:
        np.testing.assert_allclose(
            restore_series(table, 20, 20), arrays["features/temporal/features"], atol=1e-12
        )


def test_a_short_series_keeps_as_many_coefficients_as_it_has_steps(write_h5, arrays):
    with open_dataset(write_h5(arrays)) as source:
        chosen = choose_columns(source, ["short"], {})
    assert chosen.series["short"].coefficients == 5


def test_a_family_that_is_not_there_is_told(write_h5, arrays):
    with (
        open_dataset(write_h5(arrays)) as source,
        pytest.raises(SpinlockError, match="no family initial"),
    ):
        choose_columns(source, ["summary", "initial"], {})


@pytest.mark.parametrize("shape", [(6, 2, 8, 8), (6, 3, 2, 8, 8)])
def test_realizations_of_initial_fields_are_further_channels(write_h5, arrays, shape):
    fields = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    with open_dataset(write_h5(arrays | {"inputs/fields": fields})) as source:
        read = read_fields(source, np.array([0, 5]))
    np.testing.assert_array_equal(read, fields[[0, 5]].reshape(2, -1, 8, 8))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_initial_fields_have_no_gaps_and_no_values_that_drown_the_others(
    write_h5, arrays, dtype, bad
):
    fields = np.ones((6, 1, 8, 8))
    fields[2, 0, 3, 3] = bad
    with np.errstate(over="ignore"):
        contents = arrays | {"inputs/fields": fields.astype(dtype)}
    with open_dataset(write_h5(contents)) as source:
        read = read_fields(source, np.arange(6))
    assert read.dtype == np.float32
    expected = np.ones((6, 1, 8, 8), np.float32)
    expected[2, 0, 3, 3] = 0
    np.testing.assert_array_equal(read, expected)


def test_missing_initial_fields_are_told_with_a_way_out(write_h5, arrays):
    with (
        open_dataset(write_h5(arrays)) as source,
        pytest.raises(SpinlockError, match=r"inputs/fields[\s\S]*MLPEncoder"),
    ):
        read_fields(source, np.arange(6))


def test_gaps_of_series_and_fields_are_counted_over_all_blocks_as_they_were(write_h5, arrays):
    series = arrays["features/temporal/features"]
    series[[0, 0, 5], [3, 4, 7], 1] = np.nan, np.inf, np.nan
    fields = np.zeros((6, 1, 8, 8), np.float32)
    fields[[1, 4, 5], 0, 0, 0] = np.nan, -np.inf, np.nan
    filled: Counter[str] = Counter()
    with open_dataset(write_h5(arrays | {"inputs/fields": fields})) as source:
        chosen = choose_columns(source, ["temporal", "short"], {})
        for rows in (np.arange(3), np.arange(3, 6)):
            read_columns(source, chosen, rows, filled)
            read_fields(source, rows, filled)
    assert +filled == {"temporal": 3, "inputs/fields": 3}


def test_fields_are_made_finite_in_a_copy():
    fields = np.full((1, 1, 8, 8), np.nan, np.float32)
    filled: Counter[str] = Counter()
    assert (finite_fields(fields, filled) == 0).all()
    assert np.isnan(fields).all()
    assert filled == {"inputs/fields": 64}
