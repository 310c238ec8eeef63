"""Which rows a model is measured on, and that they come with their own tokens."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from spinlock.analysis.rows import RowsOfSplit, pair_rows, reported_side
from spinlock.features.dataset import open_dataset
from spinlock.features.split import TEST, TRAIN, VALIDATION
from spinlock.features.table import ROW_BLOCK, Column, FeatureTable, TableHeader, TableWriter


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


@pytest.fixture
def write_table(tmp_path):
    """Return a function that writes values [n, D], and fields, as the subset of an experiment."""

    def write(values, columns, fields=None):
        path, n_rows = tmp_path / "subset.h5", len(values)
        with h5py.File(path, "w") as file:
            split = np.arange(n_rows) % 3
            header = TableHeader(columns, "digest")
            writer = TableWriter(file, header, np.arange(n_rows), split, values.dtype)
            writer.write(0, values)
            if fields is not None:
                writer.write_fields(0, fields, n_rows)
        return path

    return write


@pytest.fixture
def telling():
    """A tokenizer whose features are the columns, and whose token is what the fields hold."""

    def altered_cells(values):
        return np.zeros(values.shape, bool), np.zeros(values.shape)

    return SimpleNamespace(
        kept=np.arange(2),
        source_digest="digest",
        normalize=lambda values: values,
        tokenize=lambda x, fields: fields.reshape(len(x), 1, 1).astype(int),
        read_blocks=lambda source: [(source.read("summary", slice(None)), np.arange(7))],
        statistics=SimpleNamespace(altered_cells=altered_cells),
    )


def test_rows_of_many_blocks_are_those_of_the_table(evidence, write_table):
    tokenizer = evidence.tokenizer
    x = np.random.default_rng(0).normal(size=(2 * ROW_BLOCK + 40, len(tokenizer.kept)))
    values = tokenizer.denormalize(x)
    last = len(values) - 1
    values[[1, last], 0] = np.nan  # of the first and the third block
    values[[2, 3, last], 4] = 1e9
    with FeatureTable(write_table(values, tokenizer.columns)) as table:
        rows = RowsOfSplit.of_table(table, tokenizer)
    np.testing.assert_array_equal(rows.x, tokenizer.normalize(values))
    np.testing.assert_array_equal(rows.tokens, tokenizer.encode(values))
    imputed, beyond = tokenizer.statistics.altered_cells(values)
    np.testing.assert_array_equal(rows.beyond.toarray(), beyond[rows.reported])
    capped = beyond != 0
    assert (imputed.sum(), capped[[2, 3, last]].sum()) == (2, 3)
    for cells, by_row, by_column in (
        (imputed, rows.altered.imputed_rows, rows.altered.imputed_cells),
        (capped, rows.altered.capped_rows, rows.altered.capped_cells),
    ):
        np.testing.assert_array_equal(by_row, cells.any(axis=1))
        np.testing.assert_array_equal(by_column, cells.sum(axis=0))


def test_rows_of_every_block_are_encoded_with_their_own_fields(telling, write_table):
    n_rows = ROW_BLOCK + 40
    values = np.random.default_rng(0).normal(size=(n_rows, 2))
    fields = np.arange(n_rows, dtype=np.float32).reshape(-1, 1, 1, 1)
    columns = [Column("summary", "a"), Column("summary", "b")]
    with FeatureTable(write_table(values, columns, fields)) as table:
        rows = RowsOfSplit.of_table(table, telling)
    assert rows.tokens.ravel().tolist() == list(range(n_rows))


def test_every_row_of_another_dataset_is_reported_on(telling, write_dataset):
    summary = np.random.default_rng(0).normal(size=(7, 2))
    with open_dataset(write_dataset({"summary": summary})) as source:
        rows = RowsOfSplit.of_dataset(source, telling)
    assert rows.side == TEST
    assert rows.reported.tolist() == list(range(7))
