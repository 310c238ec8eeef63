"""Which files are written of a model for use without spinlock."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from spinlock.commands import export
from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.tokenizer.tokenizer import Tokenizer

PAGE = Path(__file__).parents[2] / "docs/export.md"


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """Give the files of all formats, in a folder of the name that the page on export has."""
    return export.run(
        finished.path("best_model.pt"), tmp_path_factory.mktemp("export") / "exported"
    )


def test_the_formats_that_are_asked_for_are_written(finished, tmp_path):
    export.run(finished.path("best_model.pt"), tmp_path, ["safetensors"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_graphs_of_torch_alone_are_written_without_onnx(finished, tmp_path):
    written = export.run(finished.path("best_model.pt"), tmp_path, ["torch"])
    assert [path.name for path in written] == ["encode.pt2", "decode.pt2"]
    assert all(torch.export.load(path) is not None for path in written)


def test_without_graphs_no_time_is_spent_on_tracing(finished, tmp_path):
    written = export.run(finished.path("best_model.pt"), tmp_path, ["safetensors"])
    assert [path.name for path in written] == ["model.safetensors", "model.json"]


def test_all_formats_are_written_by_default(exported):
    assert {path.name for path in exported} == {
        "encode.pt2", "decode.pt2", "encode.onnx", "decode.onnx", "model.safetensors", "model.json",
    }  # fmt: skip
    assert all(path.stat().st_size for path in exported)


def test_the_code_of_the_page_runs_the_graphs(exported, finished, monkeypatch):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    monkeypatch.chdir(exported[0].parents[1])
    tokenizer = Tokenizer.load("exported/model.safetensors")
    with open_dataset(finished.dataset) as source:
        ((features, _),) = tokenizer.read_blocks(source)
    names = {"features": features.astype(np.float32)}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(block, str(PAGE), "exec"), names)
    np.testing.assert_array_equal(names["tokens"], tokenizer.encode(names["features"]))
    np.testing.assert_allclose(names["x"], tokenizer.decode(names["tokens"]), rtol=1e-5, atol=1e-5)


def test_a_file_in_the_place_of_the_folder_is_told_at_once(finished, tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    monkeypatch.setattr(export, "_write_graphs", pytest.fail)
    with pytest.raises(SpinlockError, match="a file stands where") as caught:
        export.run(finished.path("best_model.pt"), tmp_path / "taken")
    assert caught.value.where == tmp_path / "taken"


def test_a_grid_for_a_model_that_reads_no_fields_is_an_error(finished, tmp_path):
    with pytest.raises(SpinlockError, match="reads no initial fields"):
        export.run(finished.path("best_model.pt"), tmp_path, grid=32)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_exported_over_itself_and_over_no_other_file(finished, tmp_path):
    model, described = finished.path("best_model.pt"), tmp_path / "model.json"
    for _ in range(2):
        export.run(model, tmp_path, ["safetensors"])
    described.write_text('{"format": "of someone else"}')
    with pytest.raises(SpinlockError, match="another kind of file"):
        export.run(model, tmp_path, ["safetensors"])
