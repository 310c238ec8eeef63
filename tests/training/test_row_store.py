"""Rows that training reads: the same in memory and behind a file."""

import h5py
import numpy as np
import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.features.split import TRAIN, VALIDATION
from spinlock.features.table import Column, FeatureTable, TableHeader, TableWriter
from spinlock.tokenizer.normalization import FeatureStatistics
from spinlock.tokenizer.normalization_fitting import CleaningRules, fit_statistics
from spinlock.training.row_store import GIB, RowStore

N_ROWS, N_COLUMNS = 5000, 6  # more than two blocks of rows
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A subset whose sides alternate, with initial fields that name their row."""
    path = tmp_path_factory.mktemp("rows") / "subset.h5"
    columns = [Column("summary", f"s{i}") for i in range(N_COLUMNS)]
    values = np.random.default_rng(0).normal(size=(N_ROWS, N_COLUMNS)).astype(np.float32)
    split = np.arange(N_ROWS) % 3
    with h5py.File(path, "w") as file:
        header = TableHeader(columns, "digest")
        writer = TableWriter(file, header, np.arange(N_ROWS), split, np.dtype(np.float32))
        writer.write(0, values)
        numbers = np.arange(N_ROWS, dtype=np.float32).reshape(-1, 1, 1, 1)
        writer.write_fields(0, np.broadcast_to(numbers, (N_ROWS, 2, 2, 2)), N_ROWS)
    with FeatureTable(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def statistics(table) -> FeatureStatistics:
    train = table.read(table.rows(TRAIN))
    return fit_statistics(lambda columns, rows: train[rows, columns], *train.shape, CleaningRules())


def test_rows_in_a_file_are_those_in_memory(table, statistics, tmp_path):
    sides = (TRAIN, VALIDATION)
    in_memory = RowStore(tmp_path, 1.0, CPU).read(table, statistics, sides)
    in_file = RowStore(tmp_path, 0.0, CPU).read(table, statistics, sides)
    for side, one, other in zip(sides, in_memory, in_file, strict=True):
        rows = table.rows(side)
        assert torch.equal(one.x, torch.from_numpy(statistics.apply(table.read(rows))))
        assert torch.equal(one.fields[:, 0, 0, 0], torch.from_numpy(rows).float())
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.fields, other.fields)
    assert not list(tmp_path.iterdir())  # the file has no name


def test_rows_are_in_a_file_from_just_above_the_budget(table, statistics, tmp_path, caplog):
    n_rows = len(table.rows(TRAIN)) + len(table.rows(VALIDATION))
    needed = 4 * n_rows * (N_COLUMNS + 8) / GIB
    with caplog.at_level("INFO"):
        RowStore(tmp_path, needed, CPU).read(table, statistics, (TRAIN, VALIDATION))
        assert "stay in a file" not in caplog.text
        RowStore(tmp_path, needed * 0.999, CPU).read(table, statistics, (TRAIN, VALIDATION))
        assert "stay in a file" in caplog.text


def test_a_folder_that_takes_no_file_says_what_to_do(table, statistics, tmp_path):
    (tmp_path / "taken").write_text("")
    store = RowStore(tmp_path / "taken", 0.0, CPU)
    with pytest.raises(SpinlockError, match="cannot keep rows in a file") as raised:
        store.read(table, statistics, (TRAIN,))
    assert "training.memory_budget" in str(raised.value)
