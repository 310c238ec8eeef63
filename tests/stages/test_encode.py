"""Tokens of every operator, whatever the number of threads."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.features.table import FeatureTable
from spinlock.files import file_digest
from spinlock.program import limit_threads
from spinlock.stages import encode
from spinlock.tokenizer.tokenizer import Tokenizer


def test_every_operator_has_its_own_tokens_and_side(finished):
    tokenizer = Tokenizer.load(finished.path("best_model.pt"))
    with h5py.File(finished.path("tokens.h5")) as file:
        tokens, side = file["tokens"][:], file["split"][:]
        np.testing.assert_array_equal(file["row_ids"], np.arange(150))
        assert file.attrs["model_digest"] == file_digest(finished.path("best_model.pt"))
    np.testing.assert_array_equal(tokens, tokenizer.encode(finished.dataset))
    with FeatureTable(finished.path("subset.h5")) as table:
        np.testing.assert_array_equal(side[table.row_ids], table.split)
        assert (np.delete(side, table.row_ids) == -1).all()
    parquet = pd.read_parquet(finished.path("tokens.parquet"))
    np.testing.assert_array_equal(parquet.iloc[:, 2:], tokens.reshape(150, -1))
    np.testing.assert_array_equal(parquet["split"], side)


def test_tokens_name_the_model_that_made_them_though_it_is_replaced(
    finished, tmp_path, monkeypatch
):
    model = tmp_path / "best_model.pt"
    shutil.copy(finished.path("best_model.pt"), model)

    def replaced_meanwhile(*arguments, **options):
        model.write_bytes(b"another model")
        return open_dataset(*arguments, **options)

    monkeypatch.setattr(encode, "open_dataset", replaced_meanwhile)
    encode.run(model, [finished.dataset], tmp_path / "tokens.h5")
    with h5py.File(tmp_path / "tokens.h5") as file:
        assert file.attrs["model_digest"] == file_digest(finished.path("best_model.pt"))


def test_the_size_of_blocks_changes_neither_tokens_nor_shares(finished, tmp_path, monkeypatch):
    model = finished.path("best_model.pt")
    whole = encode.run(model, [finished.dataset], tmp_path / "whole.h5")
    monkeypatch.setattr("spinlock.tokenizer.tokenizer.ROW_BLOCK", 32)
    assert encode.run(model, [finished.dataset], tmp_path / "blocks.h5") == whole
    assert whole["share of cells imputed"] > 0 < whole["share of cells capped"]
    assert (tmp_path / "blocks.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_subset_of_more_operators_is_refused(finished, tmp_path):
    subset = tmp_path / "subset.h5"
    shutil.copy(finished.path("subset.h5"), subset)
    with h5py.File(subset, "a") as file:
        file["row_ids"][-1] = 150
    model, tokens = finished.path("best_model.pt"), tmp_path / "tokens.h5"
    with pytest.raises(SpinlockError, match="of another dataset"):
        encode.run(model, [finished.dataset], tokens, subset=subset)
    assert not tokens.exists()


def test_a_subset_of_as_many_other_operators_is_refused(finished, tmp_path):
    dataset, tokens = tmp_path / "data.h5", tmp_path / "tokens.h5"
    shutil.copy(finished.dataset, dataset)
    with h5py.File(dataset, "a") as file:
        file["features/temporal/features"][0, 0, 0] += 1
    model, subset = finished.path("best_model.pt"), finished.path("subset.h5")
    with pytest.raises(SpinlockError, match="of another dataset") as caught:
        encode.run(model, [dataset], tokens, subset=subset)
    assert caught.value.where == subset
    assert not tokens.exists()


def test_series_of_another_length_are_refused(finished, tmp_path):
    dataset, tokens = tmp_path / "data.h5", tmp_path / "tokens.h5"
    shutil.copy(finished.dataset, dataset)
    with h5py.File(dataset, "a") as file:
        values = file["features/temporal/features"][:]
        del file["features/temporal/features"]
        file["features/temporal/features"] = np.concatenate([values, values[:, :2]], axis=1)
    problem = r"series have \{'temporal': 14\} steps, those of the model \{'temporal': 12\}"
    with pytest.raises(SpinlockError, match=problem) as caught:
        encode.run(finished.path("best_model.pt"), [dataset], tokens)
    assert str(caught.value.where) == str(dataset)
    assert not tokens.exists()


def test_without_a_subset_no_operator_has_a_side(finished, tmp_path):
    encode.run(finished.path("best_model.pt"), [finished.dataset], tmp_path / "tokens.h5")
    with h5py.File(tmp_path / "tokens.h5") as file:
        assert (file["split"][:] == -1).all()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_tokens_are_identical_on_any_number_of_threads(finished, tmp_path, threads):
    before = torch.get_num_threads()
    limit_threads(threads)
    try:
        encode.run(
            finished.path("best_model.pt"), [finished.dataset], tmp_path / "tokens.h5",
            subset=finished.path("subset.h5"),
        )  # fmt: skip
    finally:
        limit_threads(before)
    assert (tmp_path / "tokens.h5").read_bytes() == finished.path("tokens.h5").read_bytes()


def test_the_settings_say_whether_data_may_come_from_other_files(finished, tmp_path):
    linked = tmp_path / "linked.h5"
    with h5py.File(linked, "w") as file:
        for group in ("features", "metadata"):
            file[group] = h5py.ExternalLink(str(finished.dataset), group)
    model = finished.path("best_model.pt")
    refused, allowed = (
        finished.experiment.model_copy(update={"allow_external_data": value})
        for value in (False, True)
    )
    with pytest.raises(SpinlockError, match="another file"):
        encode.run(model, [linked], tmp_path / "tokens.h5", config=refused)
    encode.run(model, [linked], tmp_path / "tokens.h5", config=allowed)
    with h5py.File(tmp_path / "tokens.h5") as file, h5py.File(finished.path("tokens.h5")) as own:
        np.testing.assert_array_equal(file["tokens"][:], own["tokens"][:])


def test_the_device_is_the_one_asked_for_or_that_of_the_settings(finished, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(encode, "choose_device", lambda wanted: asked.append(wanted) or "cpu")
    given = finished.path("best_model.pt"), [finished.dataset], tmp_path / "tokens.h5"
    encode.run(*given)
    encode.run(*given, device="cuda:1")
    encode.run(*given, config=finished.experiment)
    assert asked == ["auto", "cuda:1", "cpu"]


def test_neither_the_dataset_nor_the_model_is_overwritten(finished, tmp_path):
    dataset, model = tmp_path / "data.h5", tmp_path / "model.pt"
    shutil.copy(finished.dataset, dataset)
    shutil.copy(finished.path("best_model.pt"), model)
    before = dataset.read_bytes(), model.read_bytes()
    new = tmp_path / "new"
    for tokens, parquet in ((dataset, None), (model, None), (new, dataset), (new, new)):
        with pytest.raises(SpinlockError, match="the file to write"):
            encode.run(model, [dataset], tokens, parquet)
    assert (dataset.read_bytes(), model.read_bytes()) == before
    assert not new.exists()


def test_older_tokens_are_replaced_and_other_files_are_not(finished, tmp_path):
    given = finished.path("best_model.pt"), [finished.dataset]
    tokens, other, text = (tmp_path / name for name in ("tokens.h5", "other.h5", "text.h5"))
    for _ in range(2):
        encode.run(*given, tokens)
    shutil.copy(finished.dataset, other)
    text.write_text("notes")
    for path in (other, text):
        before = path.read_bytes()
        with pytest.raises(SpinlockError, match="is another kind of file"):
            encode.run(*given, path)
        assert path.read_bytes() == before


@pytest.mark.parametrize(("factor", "share", "told"), [(1, 0.0, 0), (1e6, 0.9, 1)])
def test_data_unlike_that_of_the_train_rows_are_told(
    finished, tmp_path, caplog, factor, share, told
):
    dataset = tmp_path / "data.h5"
    shutil.copy(finished.dataset, dataset)
    with h5py.File(dataset, "a") as file:
        for place in ("summary/aggregated", "temporal"):
            values = file[f"features/{place}/features"]
            values[:] = values[:] * factor
    result = encode.run(finished.path("best_model.pt"), [dataset], tmp_path / "tokens.h5")
    assert share <= result["share of cells capped"] < share + 0.1
    assert len([one for one in caplog.records if "beyond the caps" in one.message]) == told


@pytest.mark.parametrize(("steps", "told"), [(2, True), (10, False)])
def test_cells_of_series_that_are_bridged_are_counted(finished, tmp_path, caplog, steps, told):
    dataset = tmp_path / "data.h5"
    shutil.copy(finished.dataset, dataset)
    with h5py.File(dataset, "a") as file:
        values = file["features/temporal/features"]
        values[:, steps:] = np.nan
        share = np.mean(~np.isfinite(values[:]))
    result = encode.run(finished.path("best_model.pt"), [dataset], tmp_path / "tokens.h5")
    assert result["share of cells of series bridged"] == pytest.approx(share)
    assert ("cells of series are missing" in caplog.text) is told


def test_missing_cells_are_counted(finished, tmp_path, caplog):
    dataset = tmp_path / "data.h5"
    shutil.copy(finished.dataset, dataset)
    with h5py.File(dataset, "a") as file:
        values = file["features/summary/aggregated/features"]
        values[:] = np.nan
        n_columns = values.shape[1]
    model = finished.path("best_model.pt")
    result = encode.run(model, [dataset], tmp_path / "tokens.h5")
    n_kept = len(Tokenizer.load(model).kept)
    assert 0 < result["share of cells imputed"] <= n_columns / n_kept
    assert "cells are missing" in caplog.text


def test_another_table_is_not_written_over(finished, tmp_path):
    model, table = finished.path("best_model.pt"), tmp_path / "own.parquet"
    pd.DataFrame({"row_id": [1]}).to_parquet(table)
    with pytest.raises(SpinlockError, match="another kind of file"):
        encode.run(model, [finished.dataset], tmp_path / "tokens.h5", table)
    assert pd.read_parquet(table)["row_id"].tolist() == [1]
    assert not (tmp_path / "tokens.h5").exists()
    for _ in range(2):
        encode.run(model, [finished.dataset], tmp_path / "tokens.h5", tmp_path / "t.parquet")
