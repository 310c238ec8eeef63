"""Features of tokens, in original units and as either kind of table."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from spinlock.commands import decode
from spinlock.errors import SpinlockError
from spinlock.features.table import FeatureTable


def run(finished, output, **options):
    decode.run(finished.path("best_model.pt"), finished.path("tokens.h5"), output, **options)


def test_both_kinds_of_table_hold_the_same(finished, tmp_path):
    run(finished, tmp_path / "f.parquet")
    run(finished, tmp_path / "f.csv")
    parquet, csv = pd.read_parquet(tmp_path / "f.parquet"), pd.read_csv(tmp_path / "f.csv")
    pd.testing.assert_frame_equal(parquet, csv)
    with FeatureTable(finished.path("subset.h5")) as table:
        assert list(parquet.columns)[1:] == [column.full_name for column in table.columns]
    assert parquet["row_id"].tolist() == list(range(150))
    assert np.isfinite(parquet.to_numpy()).all()


def test_decoded_rows_have_the_numbers_of_their_operators(finished, tmp_path):
    tokens = tmp_path / "tokens.h5"
    shutil.copy(finished.path("tokens.h5"), tokens)
    with h5py.File(tokens, "a") as file:
        file["row_ids"][:] = 2 * file["row_ids"][:][::-1]
    decode.run(finished.path("best_model.pt"), tokens, tmp_path / "f.parquet")
    numbers = pd.read_parquet(tmp_path / "f.parquet")["row_id"]
    assert numbers.tolist() == [*range(298, -2, -2)]


def test_fewer_levels_decode_less_well(finished, tmp_path):
    with FeatureTable(finished.path("subset.h5")) as table:
        original = table.read(table.rows(0))
        train = table.row_ids[table.rows(0)]
    errors = []
    for levels in (1, 3):
        run(finished, tmp_path / "f.parquet", levels=levels)
        decoded = pd.read_parquet(tmp_path / "f.parquet").iloc[train, 1:].to_numpy()
        errors.append(np.nansum((decoded[:, 2:10] - original[:, 2:10]) ** 2))
    assert errors[1] < errors[0]


def test_a_path_that_looks_like_an_address_is_one_of_a_file(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(finished, Path("run:1/f.parquet"))
    assert len(pd.read_parquet(tmp_path / "run:1/f.parquet")) > 0


def test_another_kind_of_table_is_told_before_anything_is_read(finished, tmp_path):
    with pytest.raises(SpinlockError, match=r"\.txt is no suffix of what is written"):
        decode.run(tmp_path / "gone.pt", tmp_path / "gone.h5", tmp_path / "f.txt")


def test_levels_that_a_model_does_not_have_are_not_blamed_on_the_tokens(finished, tmp_path):
    with pytest.raises(SpinlockError, match=r"levels is 4; .* 1 to 3") as caught:
        run(finished, tmp_path / "f.csv", levels=4)
    assert caught.value.where is None


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("content", [b"", b"gain,loss\n1,2\n"])
def test_another_table_is_not_written_over(finished, tmp_path, suffix, content):
    own = tmp_path / f"own.{suffix}"
    own.write_bytes(content)
    with pytest.raises(SpinlockError, match="another kind of file"):
        run(finished, own)
    assert own.read_bytes() == content
    pd.DataFrame({"gain": [1.0]}).to_parquet(tmp_path / "own.parquet")
    with pytest.raises(SpinlockError, match="another kind of file"):
        run(finished, tmp_path / "own.parquet")
    run(finished, tmp_path / f"decoded.{suffix}")
    run(finished, tmp_path / f"decoded.{suffix}", levels=1)
