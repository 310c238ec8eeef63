"""A model as plain tensors and JSON, and back."""

import hashlib
import json

import numpy as np
import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.files import file_digest
from spinlock.tokenizer.plain_files import write_safetensors
from spinlock.tokenizer.tokenizer import Tokenizer

safetensors = pytest.importorskip("safetensors.torch", reason="the extra `export` is not installed")


@pytest.fixture
def written(checkpoint, tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(checkpoint, path)
    return path


def test_the_model_comes_back_bit_by_bit(written, checkpoint, tokenizer, raw_values):
    again = Tokenizer.load(written)
    for name, weights in checkpoint.model.state_dict().items():
        assert torch.equal(again._model.state_dict()[name], weights), name
    tokens = again.encode(raw_values)
    np.testing.assert_array_equal(tokens, tokenizer.encode(raw_values))
    np.testing.assert_array_equal(again.decode(tokens), tokenizer.decode(tokens))
    assert again.columns == tokenizer.columns
    assert again.config == tokenizer.config


def test_what_was_exported_has_the_digest_of_its_model(written, checkpoint, tmp_path):
    assert Tokenizer.load(written).digest == checkpoint.digest
    checkpoint.save(tmp_path / "model.pt")
    assert Tokenizer.load(tmp_path / "model.pt").digest == file_digest(tmp_path / "model.pt")


def test_an_export_that_does_not_name_its_model_is_an_error(written):
    described = written.with_suffix(".json")
    entries = json.loads(described.read_text())
    del entries["model_digest"]
    described.write_text(json.dumps(entries))
    with pytest.raises(SpinlockError, match="model_digest"):
        Tokenizer.load(written)


def test_the_files_are_read_without_spinlock(written, checkpoint):
    tensors = safetensors.load_file(written)
    described = json.loads(written.with_suffix(".json").read_text())
    assert described["group_indices"] == {k: v.tolist() for k, v in checkpoint.categories.items()}
    codes = tensors["model_state_dict/quantizer.all_codes"]
    assert torch.equal(codes, checkpoint.model.quantizer.all_codes)
    assert tensors["feature_statistics/center"].dtype == torch.float64


@pytest.mark.parametrize(
    "harm",
    [
        "no json",
        "bad json",
        "a list",
        "nothing",
        "bad tensors",
        "another byte",
        "fewer tensors",
        "a name without group",
    ],
)
def test_a_damaged_export_is_an_error(written, harm):
    described = written.with_suffix(".json")
    if harm == "no json":
        described.unlink()
    elif harm == "bad json":
        described.write_text("{")
    elif harm in {"a list", "nothing"}:
        described.write_text({"a list": "[]", "nothing": "null"}[harm])
    elif harm == "a name without group":
        safetensors.save_file({"weight": torch.zeros(1)}, written)
    elif harm == "bad tensors":
        written.write_bytes(b"\x10" * 100)
    elif harm == "another byte":
        content = bytearray(written.read_bytes())
        content[-1] ^= 1
        written.write_bytes(content)
    else:
        safetensors.save_file({"model_state_dict/none": torch.zeros(1)}, written)
    if harm in {"a name without group", "bad tensors", "fewer tensors"}:
        entries = json.loads(described.read_text())
        entries["tensors_digest"] = hashlib.sha256(written.read_bytes()).hexdigest()
        described.write_text(json.dumps(entries))
    with pytest.raises(SpinlockError) as caught:
        Tokenizer.load(written)
    assert caught.value.where == written


def test_missing_packages_are_named_with_the_extra(monkeypatch, written, checkpoint):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpinlockError, match="safetensors") as caught:
        write_safetensors(checkpoint, written)
    assert ".[export]" in caught.value.remedy
