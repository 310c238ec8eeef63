"""The table of an experiment: what is written comes back, and other files are refused."""

import json
import time

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.features.split import TEST, TRAIN, VALIDATION
from spinlock.features.table import (
    ROW_BLOCK,
    Column,
    FeatureTable,
    Series,
    TableHeader,
    TableWriter,
)

COLUMNS = [Column("summary", "energy/mean"), Column("summary", "é ✓"), Column("temporal", "u/dct")]
HEADER = TableHeader(COLUMNS, "digest", {"temporal": Series(6, 1, ["u"])})


def split_of(n_rows: int) -> np.ndarray:
    return np.arange(n_rows) % 3


@pytest.fixture
def write_table(tmp_path):
    """Return a function that writes values [n, 3] as a table in blocks."""

    def write(values: np.ndarray, block: int = 4, labels: dict | None = None, fields=None):
        path = tmp_path / "subset.h5"
        n_rows = len(values)
        with h5py.File(path, "w") as file:
            writer = TableWriter(
                file, HEADER, np.arange(n_rows) * 2, split_of(n_rows), values.dtype
            )
            for first in range(0, n_rows, block):
                writer.write(first, values[first : first + block])
                if fields is not None:
                    writer.write_fields(first, fields[first : first + block], n_rows)
            for name, label in (labels or {}).items():
                writer.write_labels(name, label)
        return path

    return write


@pytest.fixture
def values() -> np.ndarray:
    made = np.random.default_rng(0).normal(size=(10, 3))
    made[2, 1], made[3, 2], made[4, 0] = np.nan, np.inf, -0.0
    return made


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_table_comes_back_bit_by_bit(write_table, values, dtype):
    with FeatureTable(write_table(values.astype(dtype))) as table:
        assert table.read().tobytes() == values.astype(dtype).tobytes()
        assert table.read().dtype == dtype
        assert table.header == HEADER
        assert (table.columns, table.source_digest, table.series) == (
            COLUMNS,
            "digest",
            HEADER.series,
        )
        np.testing.assert_array_equal(table.row_ids, np.arange(10) * 2)
        np.testing.assert_array_equal(table.split, split_of(10))
        assert table.n_rows == 10


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(), st.text()), max_size=4, unique_by="/".join),
    st.text(),
    st.dictionaries(
        st.text(), st.builds(Series, st.integers(), st.integers(), st.lists(st.text()))
    ),
)
def test_a_header_comes_back_from_json(columns, digest, series):
    header = TableHeader([Column(*column) for column in columns], digest, series)
    assert TableHeader.from_json(header.to_json()) == header


@pytest.mark.parametrize("column", [["summary", 2], ["summary", "a"], ["summary", "\ud800"]])
def test_a_header_of_columns_that_no_file_could_name_is_refused(column):
    text = json.dumps({"columns": [["summary", "a"], column], "source_digest": "", "series": {}})
    with pytest.raises((TypeError, ValueError)):
        TableHeader.from_json(text)


def test_a_column_has_one_full_name():
    assert Column("summary", "energy/mean").full_name == "summary/energy/mean"


def test_the_sides_of_the_split_share_out_the_rows(write_table, values):
    with FeatureTable(write_table(values)) as table:
        sides = [table.rows(side).tolist() for side in (TRAIN, VALIDATION, TEST)]
    assert sides == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_rows_and_columns_are_those_of_the_whole(tmp_path_factory, data):
    n_rows = ROW_BLOCK + 3
    whole = np.arange(n_rows * 3, dtype=np.float32).reshape(n_rows, 3)
    path = tmp_path_factory.mktemp("table") / "subset.h5"
    with h5py.File(path, "w") as file:
        writer = TableWriter(file, HEADER, np.arange(n_rows), split_of(n_rows), whole.dtype)
        writer.write(0, whole)
    near_the_seam = st.integers(ROW_BLOCK - 4, n_rows - 1)
    rows = np.array(sorted(data.draw(st.sets(near_the_seam | st.integers(0, 5)))), dtype=int)
    first, last = sorted(data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3))))
    columns = slice(first, last)
    with FeatureTable(path) as table:
        np.testing.assert_array_equal(table.read(rows), whole[rows])
        np.testing.assert_array_equal(table.read(rows, columns), whole[rows][:, columns])
        np.testing.assert_array_equal(table.read(columns=columns), whole[:, columns])
        part = slice(ROW_BLOCK - 2, n_rows)
        np.testing.assert_array_equal(table.read(part, columns), whole[part, columns])


@pytest.mark.parametrize("size", [1, 3, 10, 99])
def test_blocks_cover_every_row_once(write_table, values, size):
    with FeatureTable(write_table(values)) as table:
        blocks = list(table.blocks(size))
    assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(10))
    assert max(block.stop - block.start for block in blocks) <= size


def test_labels_come_back_as_text_and_whole_numbers(write_table, values):
    labels = {
        "meta/system": np.arange(10),
        "kind": np.array([f"ä{i % 2}" for i in range(10)]),
        "/object": np.array(["ab"] * 10, dtype=object),
    }
    with FeatureTable(write_table(values, labels=labels)) as table:
        assert sorted(table.label_names()) == ["kind", "meta/system", "object"]
        np.testing.assert_array_equal(table.labels("/meta/system"), labels["meta/system"])
        assert table.labels("kind").tolist() == labels["kind"].tolist()
        assert table.labels("object").tolist() == ["ab"] * 10


def test_labels_of_any_length_come_back_whole(write_table, values):
    texts = np.array(["a" * 300, "é" * 40, "", *"abcdefg"])
    with FeatureTable(write_table(values, labels={"kind": texts})) as table:
        assert table.labels("kind").tolist() == texts.tolist()


def test_one_long_text_makes_no_others_long(write_table, values):
    texts = np.array(["a" * 100_000, *"bcdefghij"], object)
    path = write_table(values, labels={"log": texts})
    assert path.stat().st_size < 2 * 100_000
    with FeatureTable(path) as table:
        assert table.labels("log").tolist() == texts.tolist()


def test_an_account_may_be_long(values, tmp_path):
    columns = [Column("family", f"column_{i}") for i in range(values.shape[1])]
    account = {"variance_kept_of_series": {f"channel_{i}": 1.0 for i in range(5000)}}
    with h5py.File(tmp_path / "table.h5", "w") as file:
        split = np.zeros(len(values), np.int8)
        writer = TableWriter(file, TableHeader(columns, ""), split, split, np.dtype(np.float32))
        writer.write(0, values)
        writer.write_account(account)
    with FeatureTable(tmp_path / "table.h5") as table:
        assert table.account == account


@pytest.mark.parametrize("name", ["gone", "meta", "", "/"])
def test_a_missing_label_is_told_with_those_that_are_there(write_table, values, name):
    path = write_table(values, labels={"meta/system": np.arange(10), "kind": np.arange(10)})
    with FeatureTable(path) as table, pytest.raises(SpinlockError, match="no label") as caught:
        table.labels(name)
    assert str(path) in str(caught.value)
    assert "kind, meta/system" in str(caught.value)


def test_a_table_without_labels_says_so(write_table, values):
    with FeatureTable(write_table(values)) as table:
        assert table.label_names() == []
        with pytest.raises(SpinlockError, match="labels of this dataset: none"):
            table.labels("meta/system")


def test_initial_fields_are_optional(write_table, values):
    fields = np.random.default_rng(1).normal(size=(10, 2, 8, 8)).astype(np.float32)
    with FeatureTable(write_table(values)) as table:
        assert table.fields(slice(None)) is None
    with FeatureTable(write_table(values, fields=fields)) as table:
        for rows in ([1, 5, 9], [4], []):
            chosen = table.fields(np.array(rows, int))
            np.testing.assert_array_equal(chosen, fields[np.array(rows, int)])


def test_the_same_table_makes_the_same_bytes_at_any_time(write_table, values):
    labels = {"kind": np.array(["a", "b"] * 5), "meta/system": np.arange(10)}
    fields = np.zeros((10, 1, 8, 8), np.float32)
    first = write_table(values, labels=labels, fields=fields).read_bytes()
    time.sleep(1.1)  # HDF5 would note whole seconds
    assert write_table(values, labels=labels, fields=fields).read_bytes() == first


def test_other_files_are_refused(tmp_path, write_table, values):
    (tmp_path / "text.h5").write_text("a,b\n", encoding="utf-8")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features/summary/features"] = values
    with h5py.File(write_table(values), "r") as file, h5py.File(tmp_path / "h.h5", "w") as broken:
        broken.attrs.update(file.attrs)
        broken["header"] = '{"columns": []}'
    whole = write_table(values)
    (tmp_path / "cut.h5").write_bytes(whole.read_bytes()[:-100])
    for name in ("gone.h5", "text.h5", "other.h5", "h.h5", "cut.h5", "."):
        with pytest.raises(SpinlockError, match="not a subset file") as caught:
            FeatureTable(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
