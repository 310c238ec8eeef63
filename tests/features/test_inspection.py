"""What a dataset holds and how messy it is, against numpy on the whole of it."""

import numpy as np
import pytest

from spinlock.features import inspection
from spinlock.features.dataset import open_dataset
from spinlock.features.inspection import inspect_dataset


@pytest.fixture
def values() -> np.ndarray:
    made = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    made[::7, 1] = np.nan
    made[3, 2] = np.inf
    made[:, 3] = 2.5
    made[:, 4] = np.nan
    made[20, 0] = -1e17
    return made


@pytest.mark.parametrize("row_block", [1, 7, 50, 2048])
def test_gaps_constants_and_magnitudes_are_counted_over_all_blocks(
    write_h5, values, row_block, monkeypatch
):
    monkeypatch.setattr(inspection, "ROW_BLOCK", row_block)
    path = write_h5(
        {
            "features/summary/features": values,
            "inputs/fields": np.zeros((50, 2, 8, 8), np.float32),
            "meta/system": np.arange(50) % 3,
        }
    )
    with open_dataset(path) as source:
        found = inspect_dataset(source)
    assert (found["operators"], found["initial_fields"]) == (50, [50, 2, 8, 8])
    assert found["labels"] == {"meta/system": 3}
    summary = found["families"]["summary"]
    assert summary["shape"] == [50, 5]
    assert summary["type"] == "float32"
    assert summary["megabytes"] == 0.001
    assert summary["rows_with_gaps"] == 50
    assert summary["columns_with_gaps"] == 3
    assert summary["constant_columns"] == 2, "one value, and no value at all"
    assert list(summary["gaps_by_name"].items()) == [
        ("summary_4", 50),
        ("summary_1", 8),
        ("summary_2", 1),
    ]
    assert summary["names_of_constants"] == ["summary_3", "summary_4"]
    assert summary["largest_magnitude"] == pytest.approx(1e17)
    assert summary["first_names"] == [f"summary_{i}" for i in range(5)]


def test_a_series_is_counted_like_a_table(write_h5):
    series = np.random.default_rng(0).normal(size=(10, 4, 2))
    series[2, 3, 0] = np.nan
    series[4, :2, 1] = np.inf
    series[:, 0, 0] = 1.0
    with open_dataset(write_h5({"features/temporal/features": series})) as source:
        found = inspect_dataset(source)
    temporal = found["families"]["temporal"]
    assert temporal["shape"] == [10, 4, 2]
    assert (temporal["rows_with_gaps"], temporal["columns_with_gaps"]) == (2, 3)
    assert list(temporal["gaps_by_name"].values()) == [2, 1], "all steps of a channel together"
    assert temporal["constant_columns"] == 1
    assert temporal["names_of_constants"] == [], "of a channel, one step of four"
    assert found["initial_fields"] is None
    assert found["labels"] == {}
