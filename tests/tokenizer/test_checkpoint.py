"""Checkpoints come back as they were; files that are none are refused, and run no code."""

import copy
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.tokenizer.checkpoint import FORMAT, Checkpoint
from spinlock.tokenizer.state_file import read_state, write_state

ENTRIES = (
    "format",
    "model_state_dict",
    "optimizer_state_dict",
    "group_indices",
    "normalization_stats",
    "feature_names",
    "config",
    "history",
    "val_loss",
    "metrics",
    "model_shape",
    "table_header",
    "feature_statistics",
    "training_state",
    "provenance",
)
READ_BACK = [name for name in ENTRIES if name not in ("normalization_stats", "feature_names")]


@pytest.fixture(scope="module")
def saved(checkpoint, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "best_model.pt"
    checkpoint.save(path)
    return path


def refused(path: Path) -> SpinlockError:
    """Return the error of loading a file, which names the file."""
    with pytest.raises(SpinlockError) as caught:
        Checkpoint.load(path)
    assert caught.value.where == path
    return caught.value


def refused_bytes(content: bytes) -> SpinlockError:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        path.write_bytes(content)
        return refused(path)


def test_everything_comes_back(checkpoint, saved):
    again = Checkpoint.load(saved)
    assert again.model.shape == checkpoint.model.shape
    assert again.header == checkpoint.header
    assert again.kept_names == checkpoint.kept_names
    for name in ("config", "history", "val_loss", "metrics", "provenance"):
        assert getattr(again, name) == getattr(checkpoint, name)
    weights = checkpoint.model.state_dict()
    assert again.model.state_dict().keys() == weights.keys()
    for name, values in again.model.state_dict().items():
        assert torch.equal(values, weights[name])
    for name, array in checkpoint.statistics.arrays().items():
        np.testing.assert_array_equal(again.statistics.arrays()[name], array)
        assert again.statistics.arrays()[name].dtype == array.dtype
    assert again.categories.keys() == checkpoint.categories.keys()
    for name, members in checkpoint.categories.items():
        np.testing.assert_array_equal(again.categories[name], members)


def test_a_loaded_model_is_ready_to_evaluate(saved):
    assert not Checkpoint.load(saved).model.training


def test_saving_what_was_loaded_gives_the_same_entries(saved, tmp_path):
    Checkpoint.load(saved).save(tmp_path / "again.pt")
    first, second = read_state(saved), read_state(tmp_path / "again.pt")
    assert first.keys() == second.keys() == set(ENTRIES)
    for name in ("model_shape", "group_indices", "table_header", "config", "feature_names"):
        assert first[name] == second[name]


def test_the_file_holds_plain_values_and_tensors_only(saved, checkpoint):
    entries = torch.load(saved, weights_only=True)
    assert entries["format"] == FORMAT
    assert entries["feature_names"] == checkpoint.kept_names
    stats = entries["normalization_stats"]["category_00"]
    kept = checkpoint.statistics.kept[checkpoint.categories["category_00"]]
    np.testing.assert_array_equal(stats["mean"], checkpoint.statistics.center[kept])
    np.testing.assert_array_equal(stats["std"], checkpoint.statistics.scale[kept])


def test_a_failed_save_leaves_the_old_file_alone(checkpoint, tmp_path):
    path = tmp_path / "best_model.pt"
    checkpoint.save(path)
    before = path.read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        replace(checkpoint, config={"not plain": lambda: None}).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["best_model.pt"]  # noqa: PTH208


def test_a_missing_file_is_named(tmp_path):
    assert "no such model file" in refused(tmp_path / "none.pt").problem


def test_a_folder_is_no_model(tmp_path):
    refused(tmp_path)


def test_a_folder_is_told_with_the_model_in_it(saved, tmp_path):
    assert refused(saved.parent).remedy == f"give {saved}"
    error = refused(tmp_path)
    assert "folder" in error.problem
    assert "best_model.pt or checkpoint_epoch_*.pt" in error.remedy


@pytest.mark.parametrize("value", [{"format": "other-1"}, {}, [1, 2], torch.ones(3), "text"])
def test_a_file_of_another_kind_is_refused(value, tmp_path):
    path = tmp_path / "other.pt"
    torch.save(value, path)
    refused(path)


def test_a_file_of_another_version_is_refused_with_both_versions(saved, tmp_path):
    path = tmp_path / "old.pt"
    write_state(path, read_state(saved) | {"format": "spinlock-model-0"})
    problem = refused(path).problem
    assert "spinlock-model-0" in problem
    assert FORMAT in problem


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_truncated_file_is_refused(saved, data):
    content = saved.read_bytes()
    refused_bytes(content[: data.draw(st.integers(0, len(content) - 1))])


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60))
def test_random_bytes_are_refused(content):
    refused_bytes(content)


@pytest.mark.parametrize(
    "content", [b".", b"0", b"}.", b"K\x01.", b"PK\x03\x04", b"\x80\x02}q\x00."]
)
def test_bytes_that_begin_like_a_pickle_are_refused(content):
    refused_bytes(content)


def test_damaged_bytes_of_an_older_kind_of_file_are_refused(tmp_path):
    torch.save({"weights": torch.ones(30)}, tmp_path / "x", _use_new_zipfile_serialization=False)
    content = bytearray((tmp_path / "x").read_bytes())
    for place in range(0, len(content), 7):
        damaged = content.copy()
        damaged[place : place + 3] = b"\xff.0"
        refused_bytes(bytes(damaged))


class RunsCode:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))]
)
def test_a_file_that_would_run_code_is_refused_and_runs_none(save, saved, tmp_path):
    path, sign = tmp_path / "hostile.pt", tmp_path / "it ran"
    save({"format": FORMAT, "config": RunsCode(sign)}, path)
    refused(path)
    assert not sign.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["quantizer.all_codes", "encoder.head.weight"])
def test_weights_that_are_no_numbers_are_refused_by_name(checkpoint, tmp_path, name, value):
    model = copy.deepcopy(checkpoint.model)
    with torch.no_grad():
        model.get_parameter(name).view(-1)[0] = value
    path = tmp_path / "broken.pt"
    replace(checkpoint, model=model).save(path)
    assert name in refused(path).problem


@pytest.mark.parametrize("name", READ_BACK)
def test_a_file_without_one_of_its_entries_is_refused(saved, tmp_path, name):
    entries = read_state(saved)
    del entries[name]
    write_state(tmp_path / "part.pt", entries)
    refused(tmp_path / "part.pt")


@pytest.mark.parametrize("wrong", [None, 3, [1, 2], "text"])
@pytest.mark.parametrize(
    "name",
    ["model_state_dict", "group_indices", "model_shape", "table_header", "feature_statistics"],
)
def test_a_file_with_an_entry_of_another_kind_is_refused(saved, tmp_path, name, wrong):
    write_state(tmp_path / "odd.pt", read_state(saved) | {name: wrong})
    refused(tmp_path / "odd.pt")


def changed(saved: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Return a model file some of whose entries are other ones."""
    entries = read_state(saved)
    change(entries)
    write_state(folder / "changed.pt", entries)
    return folder / "changed.pt"


def statistics_with(name: str, value: float) -> Callable[[dict[str, Any]], object]:
    return lambda entries: entries["feature_statistics"][name].fill_(value)


@pytest.mark.parametrize(
    ("name", "value"), [("center", np.nan), ("scale", 0.0), ("lower", np.nan), ("impute", np.inf)]
)
def test_statistics_that_give_meaningless_tokens_are_refused(saved, tmp_path, name, value):
    problem = refused(changed(saved, tmp_path, statistics_with(name, value))).problem
    assert "inconsistent" in problem


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ({"a": [0, 1, 4, 5, 6], "b": [2, 3, 7, 8, 999]}, "not those of the model"),
        ({"a": [0, 1, 4, 5, 6], "b": [0, 1, 4, 5, 6]}, "not those of the model"),
        ({"a": [0, 1, 4, 5, 6]}, "not those of the model"),
        ({"a/b": [0, 1, 4, 5, 6], "a": [2, 3, 7, 8, 9]}, "'a/b' is no name"),
        ({1: [0, 1, 4, 5, 6], "a": [2, 3, 7, 8, 9]}, "inconsistent"),
    ],
)
def test_categories_that_are_not_those_of_the_model_are_refused(saved, tmp_path, groups, problem):
    changes = {"group_indices": groups}
    assert problem in refused(changed(saved, tmp_path, lambda e: e.update(changes))).problem


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"beam_width": 0}, "is empty"),
        ({"beam_width": 2.0}, "no whole number"),
        ({"beam_width": "8"}, "no whole number"),
        ({"book_sizes": [[16, 8, 4], [8, 8, 0]]}, "is empty"),
        ({"book_sizes": [[16, 8, 4], [8, 8, -2]]}, "is empty"),
        ({"book_sizes": [[16, 8, 4], [8, 8]]}, "the same number of books"),
        ({"book_sizes": [[16, 8, 4]]}, "the same number of books"),
        ({"partition": [[0, 1, 4, 5, 6], [2, 3, 7, 8, 99]]}, "each column once"),
        ({"partition": [[0, 1, 4, 5, 6], [2, 3, 7, 8, -1]]}, "each column once"),
        ({"partition": [[0, 1, 4, 5, 6], [2, 3, 7, 8, 9], []]}, "each column once"),
        ({"partition": [[0, 1, 4, 5, 6], [2, 3, 7, 8, 9.0]]}, "no whole number"),
        ({"partition": [list(range(10))] * 200_000}, "each column once"),
        ({"column_family": ["summary"] * 9}, "9 columns have a family, of 10"),
    ],
)
def test_a_shape_that_no_model_has_is_refused(saved, tmp_path, changes, problem):
    path = changed(saved, tmp_path, lambda entries: entries["model_shape"].update(changes))
    assert problem in refused(path).problem


@pytest.mark.parametrize(
    "changes",
    [
        {"provenance": None},
        {"config": [1]},
        {"history": "text"},
        {"history": [{"epoch": torch.zeros(2)}]},
        {"val_loss": "text"},
        {"metrics": {"quality": {1, 2}}},
    ],
)
def test_entries_that_no_export_could_write_are_refused(saved, tmp_path, changes):
    assert "inconsistent" in refused(changed(saved, tmp_path, lambda e: e.update(changes))).problem


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 4, 3), (1,)])
def test_projectors_of_another_shape_are_refused(saved, tmp_path, shape):
    weights = {"quantizer.projector_0": torch.zeros(shape)}
    path = changed(saved, tmp_path, lambda entries: entries["model_state_dict"].update(weights))
    assert "quantizer.projector_0" in refused(path).problem


def nested(depth: int, width: int) -> list:
    """Return lists in lists, each of which holds the next one several times."""
    value: list = ["x"]
    for _ in range(depth):
        value = [value] * width
    return value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (torch.zeros(1).expand(10_000, 100_000), "a tensor is larger than its numbers"),
        (torch.zeros(10**6, device="meta"), "a tensor is larger than its numbers"),
        (torch.zeros(10**6).to_sparse(), "a tensor is larger than its numbers"),
        (nested(40, 10), "more values than it has bytes"),
        (nested(60, 1), "nested too deep"),
    ],
)
def test_what_is_larger_than_its_file_is_refused(saved, tmp_path, value, problem):
    torch.save(read_state(saved) | {"history": value}, tmp_path / "small.pt")
    assert (tmp_path / "small.pt").stat().st_size < 2 * saved.stat().st_size
    assert problem in refused(tmp_path / "small.pt").problem


def test_a_list_in_itself_is_refused(saved, tmp_path):
    value: list = []
    value.append(value)
    torch.save(read_state(saved) | {"history": value}, tmp_path / "endless.pt")
    assert "nested too deep" in refused(tmp_path / "endless.pt").problem


def test_a_deflated_archive_is_refused_before_it_is_unpacked(saved, tmp_path):
    torch.save(read_state(saved) | {"more": torch.zeros(10**7)}, tmp_path / "large.pt")
    path = tmp_path / "small.pt"
    with zipfile.ZipFile(tmp_path / "large.pt") as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert path.stat().st_size < 10**6
    assert "its parts are larger than the file" in refused(path).problem


def test_weights_of_another_shape_are_refused(saved, tmp_path):
    entries = read_state(saved)
    entries["model_shape"]["embedding_dim"] = 3
    write_state(tmp_path / "odd.pt", entries)
    assert "inconsistent" in refused(tmp_path / "odd.pt").problem


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_a_changed_byte_of_any_part_is_refused(saved, data):
    with zipfile.ZipFile(saved) as archive:
        part = data.draw(st.sampled_from([one for one in archive.infolist() if one.file_size]))
    content = bytearray(saved.read_bytes())
    lengths = content[part.header_offset + 26 :][:4]  # of the name and of what pads the header
    begin = part.header_offset + 30 + sum(np.frombuffer(lengths, "<u2").tolist())
    content[begin + data.draw(st.integers(0, part.file_size - 1))] ^= data.draw(st.integers(1, 255))
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        Path(file.name).write_bytes(content)
        with pytest.raises(SpinlockError, match="cannot be read as a model"):
            Checkpoint.load(file.name)
