"""Rows that training reads: the same in memory and behind a file."""

import h5py
import numpy as np
import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.features.split import TEST, TRAIN, VALIDATION
from spinlock.features.table import Column, FeatureTable, TableHeader, TableWriter
from spinlock.settings.data import FeatureCleaning
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.normalization.fitting import fit_statistics
from spinlock.tokenizer.normalization.statistics import FeatureStatistics
from spinlock.training import row_store
from spinlock.training.row_store import GIB, RowStore

N_ROWS, N_COLUMNS = 300, 6
SIDES = (TRAIN, VALIDATION)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A subset of train and validation rows that alternate, whose fields name their row."""
    path = tmp_path_factory.mktemp("rows") / "subset.h5"
    columns = [Column("summary", f"s{i}") for i in range(N_COLUMNS)]
    values = np.random.default_rng(0).normal(size=(N_ROWS, N_COLUMNS)).astype(np.float32)
    split = np.arange(N_ROWS) % 2
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
    return fit_statistics(
        lambda columns, rows: train[rows, columns], *train.shape, FeatureCleaning(), "standard"
    )


def assert_rows(found: Rows, table: FeatureTable, statistics: FeatureStatistics, side: int) -> None:
    rows = table.rows(side)
    assert torch.equal(found.x, torch.from_numpy(statistics.apply(table.read(rows))))
    assert torch.equal(found.fields[:, 0, 0, 0], torch.from_numpy(rows).float())


@pytest.mark.parametrize("budget", [1.0, 0.0])
@pytest.mark.parametrize("block", [32, 150, 2048])  # of the 150 rows of a side
def test_rows_are_those_of_their_side_in_memory_and_in_a_file(
    table, statistics, tmp_path, monkeypatch, block, budget
):
    monkeypatch.setattr(row_store, "ROW_BLOCK", block)
    read = RowStore(tmp_path, budget, CPU).read(table, statistics, SIDES)
    for side, found in zip(SIDES, read, strict=True):
        assert_rows(found, table, statistics, side)
    assert not list(tmp_path.iterdir())  # a file has no name


@pytest.mark.parametrize("budget", [1.0, 0.0])
def test_for_a_side_without_rows_the_train_rows_stand(table, statistics, tmp_path, caplog, budget):
    store = RowStore(tmp_path, budget, CPU)
    store.read(table, statistics, SIDES)
    assert not caplog.messages
    _, empty = store.read(table, statistics, (TRAIN, TEST))
    assert_rows(empty, table, statistics, TRAIN)
    assert "no row is for validation: train rows stand for them" in caplog.text


def test_rows_are_in_a_file_from_just_above_the_budget(table, statistics, tmp_path, caplog):
    n_rows = len(table.rows(TRAIN)) + len(table.rows(VALIDATION))
    needed = 4 * n_rows * (N_COLUMNS + 8) / GIB
    with caplog.at_level("INFO"):
        RowStore(tmp_path, needed, CPU).read(table, statistics, SIDES)
        assert "stay in a file" not in caplog.text
        RowStore(tmp_path, needed * 0.999, CPU).read(table, statistics, SIDES)
        assert "stay in a file" in caplog.text


def test_a_folder_that_takes_no_file_says_what_to_do(table, statistics, tmp_path):
    (tmp_path / "taken").write_text("")
    store = RowStore(tmp_path / "taken", 0.0, CPU)
    with pytest.raises(SpinlockError, match="cannot keep rows in a file") as raised:
        store.read(table, statistics, (TRAIN,))
    assert "training.memory_budget" in str(raised.value)
