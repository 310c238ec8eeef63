"""Fuzzing of what reads files that others wrote: HDF5 datasets, settings, mappings, tokens.

In the tests a few examples, always the same; `make fuzz` gives each reader its share of
FUZZ_SECONDS with new ones. What it finds becomes a test of its own.
"""

import io
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.features import hdf5
from spinlock.features.dataset import open_dataset
from spinlock.features.inspection import inspect_dataset
from spinlock.results.training_files import read_statistics
from spinlock.settings import load_dataset_settings, load_experiment
from spinlock.tokenizer.categories.mapping import read_mapping
from spinlock.tokenizer.token_file import open_tokens

READERS = 7
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
EXAMPLES = 500 if SECONDS else 30  # in a round
SUMMARY = "features/summary/aggregated/features"


def fuzzed(**strategies: st.SearchStrategy) -> Callable[[Callable], Callable[[Path], None]]:
    """Run a check with drawn arguments: one round, and more while there is time to fuzz."""

    def wrap(check: Callable) -> Callable[[Path], None]:
        def test(place: Path) -> None:
            @settings(max_examples=EXAMPLES)
            @given(**strategies)
            def one_round(**drawn: object) -> None:
                check(place, **drawn)

            end = time.monotonic() + SECONDS / READERS
            one_round()
            while time.monotonic() < end:
                one_round()

        return test

    return wrap


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Files on which the HDF5 library does not come back cost little time."""
    monkeypatch.setattr(hdf5, "TRIAL_SECONDS", 0.5)


def explained(read: Callable[[], object]) -> None:
    """Check that reading works or says why not; any other exception is a crash."""
    with suppress(SpinlockError):
        read()


def whole_hdf5() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as data:
        data[SUMMARY] = np.arange(40, dtype=np.float32).reshape(10, 4)
        data["features/summary"].attrs["feature_registry"] = json.dumps(
            {"energy": {"mean": 0, "std": 1}, "shape": {"a": 2, "b": 3}}
        )
        data.create_dataset(
            "features/temporal/features", data=np.ones((10, 6, 2)), chunks=(5, 6, 2), compression=1
        )
        data["inputs/fields"] = np.zeros((10, 1, 4, 4), np.float32)
        data["metadata/kind"] = ["a", "b"] * 5
    return file.getvalue()


def whole_tokens() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as data:
        data.attrs.update({"format": "spinlock-tokens-1", "model_digest": "0" * 64})
        data["tokens"] = np.zeros((10, 2, 3), np.uint8)
        data["row_ids"] = np.arange(10)
        data["split"] = np.zeros(10, np.int8)
    return file.getvalue()


HDF5, TOKENS = whole_hdf5(), whole_tokens()
damages = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=6
)


def damaged(content: bytes, damage: list[tuple[float, bytes]], kept: float) -> bytes:
    """Return bytes with some overwritten, and the end cut off."""
    changed = bytearray(content)
    for where, new in damage:
        at = int(where * len(changed))
        changed[at : at + len(new)] = new[: len(changed) - at]
    return bytes(changed[: max(1, int(kept * len(changed)))])


ends = st.just(1.0) | st.floats(0, 1)


def read_all_of_it(path: Path) -> None:
    with open_dataset(path) as source:
        few = slice(0, min(source.n_operators, 20))
        for family in source.families:
            source.read(family, few)
        source.fields(few)
        if source.n_operators <= 1000:
            inspect_dataset(source)
            source.digest()


@fuzzed(damage=damages, kept=ends)
def test_a_damaged_dataset_is_read_or_explained(place, damage, kept):
    path = place / "data.h5"
    path.write_bytes(damaged(HDF5, damage, kept))
    explained(lambda: read_all_of_it(path))


names = st.sampled_from(["features", "summary", "aggregated", "inputs", "fields", "metadata", "x"])
shapes = st.lists(st.integers(0, 5), max_size=5).map(tuple)
dtypes = st.sampled_from(["f2", "f4", ">f8", "i1", "u8", "?", "c8", "S3", "f4,i4"])


@fuzzed(items=st.dictionaries(st.lists(names, min_size=1, max_size=4).map("/".join),
                             st.tuples(shapes, dtypes), max_size=6))  # fmt: skip
def test_a_dataset_of_any_arrays_is_read_or_explained(place, items):
    path = place / "arrays.h5"
    with h5py.File(path, "w") as file:
        for name, (shape, dtype) in ({SUMMARY: ((4, 3), "f4")} | items).items():
            try:
                file[name] = np.zeros(shape, dtype)
            except (ValueError, TypeError, OSError):  # h5py's own: the name is taken
                continue
    explained(lambda: read_all_of_it(path))


@fuzzed(damage=damages, kept=ends)
def test_damaged_tokens_are_read_or_explained(place, damage, kept):
    path = place / "tokens.h5"
    path.write_bytes(damaged(TOKENS, damage, kept))
    explained(lambda: open_tokens(path).close())


SETTINGS = """\
dataset_path: data.h5
families: {summary: {encoder: MLPEncoder, encoder_params: {hidden_dims: [64], dropout: 0.1}}}
model: {levels: {a: [{num_tokens: 8}]}, bits: 288}
training: {learning_rate: 1e-3, num_categories_auto: validation}
"""
yaml_text = st.text("a:{}[]-?!&*'\"\n\t #|>%@`,<=~0.1e", max_size=12)


@fuzzed(where=st.floats(0, 1), new=yaml_text, length=st.integers(0, 20))
def test_settings_with_anything_inside_are_read_or_explained(place, where, new, length):
    at = int(where * len(SETTINGS))
    path = place / "experiment.yaml"
    path.write_text(SETTINGS[:at] + new + SETTINGS[at + length :], encoding="utf-8")
    explained(lambda: load_experiment(path))
    explained(lambda: load_dataset_settings(path))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@fuzzed(content=json_values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50))
def test_any_mapping_is_read_or_explained(place, content):
    path = place / "map.json"
    path.write_bytes(content)
    explained(lambda: read_mapping(path, "write another"))


STATISTICS = io.BytesIO()
np.savez(STATISTICS, kept=np.arange(3), reason=np.zeros(3, np.int8))


@fuzzed(damage=damages, kept=ends)
def test_damaged_statistics_are_explained(place, damage, kept):
    path = place / "statistics.npz"
    path.write_bytes(damaged(STATISTICS.getvalue(), damage, kept))
    explained(lambda: read_statistics(path))


@fuzzed(registry=json_values.map(json.dumps) | st.text(max_size=30), names=json_values)
def test_any_names_of_columns_are_used_or_passed_over(place, registry, names):
    path = place / "named.h5"
    with h5py.File(path, "w") as file:
        file[SUMMARY] = np.zeros((4, 3), np.float32)
        try:
            file["features/summary"].attrs["feature_registry"] = registry
            file[SUMMARY].attrs["feature_names"] = json.dumps(names)
        except (ValueError, UnicodeEncodeError):  # h5py's own: a null byte, half a surrogate pair
            return
    with open_dataset(path) as source:
        assert len(set(source.families["summary"].column_names)) == 3
