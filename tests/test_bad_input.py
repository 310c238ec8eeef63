"""Bad input of every kind, through the command line and the stages: one message, status 2."""

import io
import json
import os
import pickle
import resource
import signal
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from spinlock import cli
from spinlock.commands import decode, train_vqvae
from spinlock.results.evaluation_files import read_metrics
from spinlock.settings import load_experiment
from spinlock.stages import (
    cluster,
    concatenate,
    encode,
    evaluate,
    generate,
    normalize,
    subset,
    train,
    visualize,
)

SUMMARY = "features/summary/aggregated/features"
SPARE_MEMORY = 1_500_000_000  # bytes beyond what the process has when a case begins
HANGS_AFTER = 120  # seconds
STAGES = {
    module.__name__.rsplit(".", 1)[-1]: module.main
    for module in (
        cluster, concatenate, encode, evaluate, generate, normalize, subset, train,
        visualize,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Good:
    """A finished experiment; no case changes it."""

    config: Path
    dataset: Path
    model: Path
    subset: Path
    statistics: Path
    categories: Path
    tokens: Path
    metrics: Path

    def entries(self) -> dict:
        """Return what the model file holds."""
        return torch.load(self.model, weights_only=True)

    def settings(self) -> dict:
        """Return the experiment's settings."""
        return yaml.safe_load(self.config.read_text())


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Good:
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    with h5py.File(folder / "data.h5", "w") as file:
        file[SUMMARY] = rng.normal(size=(40, 6)).astype(np.float32)
        file["metadata/system"] = np.arange(40) % 4
    settings = {
        "dataset_path": str(folder / "data.h5"),
        "families": {"summary": {"encoder": "IdentityEncoder"}},
        "model": {"bits": 12, "group_hidden_dim": 4, "group_embedding_dim": 4},
        "training": {"num_epochs": 1, "num_categories_auto": 2, "use_torch_compile": False},
        "evaluation": {"baselines": False},
        "logging": {"verbose": False},
    }
    (folder / "good.yaml").write_text(yaml.safe_dump(settings))
    experiment = load_experiment(folder / "good.yaml")
    out = folder / "results"
    model = train_vqvae.run(experiment, out)
    metrics, tokens = out / "metrics.json", out / "tokens.h5"
    evaluate.run(experiment, model, out / "subset.h5", metrics, out / "baselines.csv")
    encode.run(model, [folder / "data.h5"], tokens, subset=out / "subset.h5")
    return Good(
        folder / "good.yaml", folder / "data.h5", model, out / "subset.h5",
        out / "feature_statistics.npz", out / "categories.json", tokens, metrics,
    )  # fmt: skip


CASES: dict[str, tuple[Callable, tuple[str, ...]]] = {}


def case(*said: str):
    """Register a case: a function of the good files and a folder, which gives the arguments."""

    def register(make: Callable) -> Callable:
        CASES[make.__name__.replace("_", " ")] = (make, said)
        return make

    return register


# --- settings -----------------------------------------------------------------------------


def settings_case(name: str, change: Callable[[dict], object] | str | bytes, *said: str) -> None:
    def make(good: Good, folder: Path) -> list:
        path = folder / "bad.yaml"
        if callable(change):
            values = good.settings()
            change(values)
            path.write_text(yaml.safe_dump(values))
        elif isinstance(change, bytes):
            path.write_bytes(change)
        else:
            path.write_text(good.config.read_text() + change)
        return ["train-vqvae", "--config", path, "--output", folder / "out"]

    CASES[f"settings: {name}"] = (make, ("bad.yaml", *said))


def section(name: str, **values: object) -> Callable[[dict], object]:
    return lambda settings: settings.setdefault(name, {}).update(values)


settings_case("text for a number", section("training", batch_size="many"), "training.batch_size")
settings_case("number out of range", section("model", decay=1.5), "model.decay")
settings_case("not a number", section("training", learning_rate=float("nan")), "learning_rate")
settings_case("infinite", section("training", topo_weight=float("inf")), "topo_weight")
settings_case("misspelt key", section("training", batchsize=4), "did you mean 'batch_size'?")
settings_case("misspelt section", section("trainings"), "did you mean 'training'?")
settings_case("no dataset", lambda s: s.pop("dataset_path"), "dataset_path: this key is required")
settings_case("no row trains", section("split", val_fraction=0.6, test_fraction=0.6), "val_frac")
settings_case(
    "manual without mapping", section("training", category_assignment="manual"), "mapping_file"
)
settings_case("unknown encoder", section("families", summary={"encoder": "X"}), "unknown encoder")
settings_case("device that is no device", lambda s: s.update(device="gpu"), "device")
settings_case("billion laughs", "a: &a [x, x]\nb: &b [*a, *a]\n", "aliases")
settings_case("deep nesting", "model: " + "[" * 40_000, "YAML")
settings_case("tab", "model:\n\tbits: 3\n", "tab")
settings_case("duplicate key", "device: cpu\ndevice: cpu\n", "stands twice")
settings_case("python tag", "device: !!python/object/apply:os.getcwd []\n", "python/object")
settings_case("binary", bytes(range(256)), "cannot be read")
settings_case("empty", b"", "not a mapping")
settings_case("list", b"- 1\n", "not a mapping")
settings_case("too large", b"#" * 200_000, "larger than")


@case("no such configuration file", "gone.yaml")
def settings_that_are_not_there(good, folder):
    return ["train-vqvae", "--config", folder / "gone.yaml", "--output", folder / "out"]


@case("larger than", "/dev/zero")
def settings_without_an_end(good, folder):
    return ["train-vqvae", "--config", "/dev/zero", "--output", folder / "out"]


@case("num_operators")
def settings_of_a_dataset(good, folder):
    (folder / "bad.yaml").write_text("num_operators: 0\n")
    return ["generate", "--config", folder / "bad.yaml", "--output", folder / "out.h5"]


@case("operators 3..9 are not among the 5")
def operators_outside_the_dataset(good, folder):
    (folder / "d.yaml").write_text("{num_operators: 5, grid_size: 8, steps: 8, max_depth: 1}\n")
    return ["generate.", "--config", folder / "d.yaml", "--output", folder / "out.h5",
            "--first", 3, "--count", 6]  # fmt: skip


@case("color_by", "what to do")
def a_colour_that_is_no_feature(good, folder):
    settings = good.settings() | {"visualization": {"color_by": "summary/none", "max_points": 10}}
    (folder / "bad.yaml").write_text(yaml.safe_dump(settings))
    results = good.model.parent
    return [
        "visualize.", "--config", folder / "bad.yaml", "--model", good.model, "--subset",
        good.subset, "--silhouette", results / "silhouette.csv", "--linkage",
        results / "linkage.npz", "--metrics", good.metrics, "--baselines",
        results / "baselines.csv", "--tokens", good.tokens, "--figures", folder / "figures",
        "--report", folder / "report.html",
    ]  # fmt: skip


def experiment_case(name: str, change: Callable[[dict], object], *said: str) -> None:
    """Register settings that only the data shows to be wrong."""

    def make(good: Good, folder: Path) -> list:
        settings = good.settings()
        change(settings)
        (folder / "bad.yaml").write_text(yaml.safe_dump(settings))
        return ["subset.", "--config", folder / "bad.yaml", "--dataset", good.dataset,
                "--output", folder / "out.h5"]  # fmt: skip

    CASES[f"settings and data: {name}"] = (make, said)


experiment_case("family that is not there", section("families", x={}), "no family x", "summary")
experiment_case("label that is not there", section("split", group_by="meta/x"), "metadata/system")
experiment_case(
    "fields that are not there",
    section("families", summary={"encoder": "InitialCNNEncoder"}),
    "/inputs/fields",
)


# --- datasets -----------------------------------------------------------------------------


def dataset_case(name: str, write_to: Callable[[Path, Good], object], *said: str) -> None:
    """Register a dataset that the stage `subset` is given."""

    def make(good: Good, folder: Path) -> list:
        path = folder / "bad.h5"
        write_to(path, good)
        return ["subset.", "--config", good.config, "--dataset", path, "--output", folder / "o.h5"]

    CASES[f"dataset: {name}"] = (make, said)


def holding(**arrays: object) -> Callable[[Path, Good], None]:
    """Write arrays of families, or of whole paths where a name has a double underscore."""

    def write(path: Path, good: Good) -> None:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                place = name.replace("__", "/") if "__" in name else f"features/{name}/features"
                file[place] = array

    return write


def cut(share: float) -> Callable[[Path, Good], object]:
    return lambda path, good: path.write_bytes(
        good.dataset.read_bytes()[: int(share * good.dataset.stat().st_size)]
    )


def external(path: Path, good: Good) -> None:
    with h5py.File(path, "w") as file:
        file[SUMMARY] = h5py.ExternalLink(str(good.dataset), SUMMARY)


def virtual(path: Path, good: Good) -> None:
    layout = h5py.VirtualLayout((40, 6), np.float32)
    layout[:] = h5py.VirtualSource(str(good.dataset), SUMMARY, (40, 6))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset(SUMMARY, layout)


def raw(path: Path, good: Good) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(SUMMARY, (40, 6), np.float32, external=[("/etc/passwd", 0, 960)])


def declared(shape: tuple[int, ...]) -> Callable[[Path, Good], None]:
    def write(path: Path, good: Good) -> None:
        with h5py.File(path, "w") as file:
            chunks = tuple(min(size, 100) for size in shape)
            file.create_dataset(SUMMARY, shape, np.float32, chunks=chunks)

    return write


dataset_case("text", lambda path, good: path.write_text("a,b\n"), "is not an HDF5 file")
dataset_case("empty", lambda path, good: path.touch(), "is not an HDF5 file")
dataset_case("folder", lambda path, good: path.mkdir(), "is a folder")
dataset_case("not there", lambda path, good: None, "does not exist")
for share in (0.02, 0.3, 0.77, 0.999):
    dataset_case(f"cut at {share}", cut(share), "damaged")
dataset_case("without features", holding(x__y=np.zeros(3)), "no group /features")
dataset_case("without families", holding(features__x__y=np.zeros(3)), "no feature family")
dataset_case("one axis", holding(summary=np.zeros(5)), "[N, D] or [N, T, D]")
dataset_case("four axes", holding(summary=np.zeros((5, 2, 2, 2))), "[N, D] or [N, T, D]")
dataset_case("no rows", holding(summary=np.zeros((0, 3))), "is empty")
dataset_case("series without steps", holding(summary=np.zeros((5, 0, 2))), "is empty")
dataset_case("text values", holding(summary=[["a"], ["b"]]), "not numbers")
dataset_case("complex values", holding(summary=np.zeros((5, 2), complex)), "not numbers")
dataset_case(
    "families of different length",
    holding(summary=np.zeros((5, 2)), other=np.zeros((6, 2))),
    "different numbers of operators",
)
dataset_case("external link", external, "link to another file")
dataset_case("virtual dataset", virtual, "other files")
dataset_case("raw external file", raw, "other files")
dataset_case("more columns than can be", declared((5, 10**9)), "1,000,000,000 columns")
dataset_case("more values than memory", declared((100_000_000, 1000)), "memory", "max_samples")
dataset_case("too few rows", holding(summary=np.eye(3)), "3 rows are too few")


@case("no regular file", "pipe.h5")
def a_pipe_that_nobody_writes_into(good, folder):
    os.mkfifo(folder / "pipe.h5")
    return ["inspect", folder / "pipe.h5"]


@case("does not exist")
def a_name_that_is_too_long(good, folder):
    (folder / "bad.yaml").write_text(yaml.safe_dump(good.settings() | {"dataset_path": "x" * 5000}))
    return ["train-vqvae", "--config", folder / "bad.yaml", "--output", folder / "out", "--dry-run"]


@case("constant", "no feature column is left", "subset.h5")
def only_constant_columns(good, folder):
    path = folder / "constant.h5"
    holding(summary=np.ones((20, 3)))(path, good)
    subset.run(load_experiment(good.config), [path], folder / "subset.h5")
    return ["normalize.", "--config", good.config, "--subset", folder / "subset.h5",
            "--output", folder / "out.npz"]  # fmt: skip


@case("differ", "first.h5", "second.h5")
def shards_that_differ(good, folder):
    holding(summary=np.zeros((5, 2)))(folder / "first.h5", good)
    holding(summary=np.zeros((5, 3)))(folder / "second.h5", good)
    return ["inspect", folder / "first.h5", folder / "second.h5"]


@case("bad.h5", "not an HDF5 file")
def a_shard_to_join_that_is_damaged(good, folder):
    (folder / "bad.h5").write_text("text")
    return ["concatenate.", "--shards", good.dataset, folder / "bad.h5", "--output", folder / "o"]


@case("device 'abacus' is not known", "set device: auto")
def a_device_that_there_is_not(good, folder):
    return ["encode", good.dataset, "--model", good.model, "--output", folder / "tokens.h5",
            "--device", "abacus"]  # fmt: skip


@case("subset is of another dataset", "subset.h5")
def a_subset_of_another_dataset(good, folder):
    with h5py.File(folder / "small.h5", "w") as file:
        file[SUMMARY] = np.zeros((10, 6), np.float32)
    return ["encode.", "--model", good.model, "--dataset", folder / "small.h5", "--subset",
            good.subset, "--tokens", folder / "tokens.h5"]  # fmt: skip


@case("not the 6 columns of the model", "wide.h5")
def a_dataset_of_other_columns(good, folder):
    holding(summary=np.zeros((10, 7)))(folder / "wide.h5", good)
    return ["encode", folder / "wide.h5", "--model", good.model, "--output", folder / "tokens.h5"]


# --- files between stages -----------------------------------------------------------------


def subset_case(name: str, change: Callable[[h5py.File], object]) -> None:
    def make(good: Good, folder: Path) -> list:
        path = folder / "bad.h5"
        path.write_bytes(good.subset.read_bytes())
        with h5py.File(path, "a") as file:
            change(file)
        return ["normalize.", "--config", good.config, "--subset", path, "--output", folder / "o"]

    CASES[f"subset: {name}"] = (make, ("not a subset file", "bad.h5", "`subset`"))


def replaced(name: str, value: object) -> Callable[[h5py.File], object]:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


subset_case("another format", lambda file: file.attrs.__setitem__("format", "other"))
subset_case("no values", replaced("values", None))
subset_case("values of another shape", replaced("values", np.zeros((3, 3))))
subset_case("values that are text", replaced("values", np.full((40, 6), b"x")))
subset_case("split of another length", replaced("split", np.zeros(3, np.int8)))
subset_case("header that is no JSON", replaced("header", "{"))
subset_case("header that is a list", replaced("header", "[]"))


def statistics_case(name: str, content: Callable[[Good], bytes]) -> None:
    def make(good: Good, folder: Path) -> list:
        (folder / "bad.npz").write_bytes(content(good))
        return [
            "cluster.", "--config", good.config, "--subset", good.subset, "--statistics",
            folder / "bad.npz", "--categories", folder / "c", "--silhouette", folder / "s",
            "--linkage", folder / "l",
        ]  # fmt: skip

    CASES[f"statistics: {name}"] = (make, ("feature statistics", "bad.npz", "`normalize`"))


def arrays_with(good: Good, **changes: object) -> bytes:
    with np.load(good.statistics) as arrays:
        values = dict(arrays) | changes
    file = io.BytesIO()
    np.savez(file, **{name: value for name, value in values.items() if value is not None})
    return file.getvalue()


def damaged_in_the_middle(good: Good) -> bytes:
    content = bytearray(good.statistics.read_bytes())
    content[100:400] = bytes(300)
    return bytes(content)


statistics_case("random bytes", lambda good: b"\x93NUMPY" + bytes(range(99)))
statistics_case("pickle", lambda good: pickle.dumps({"kept": 1}))
statistics_case("cut", lambda good: good.statistics.read_bytes()[:900])
statistics_case("damaged inside", damaged_in_the_middle)
statistics_case("an array is missing", lambda good: arrays_with(good, scale=None))
statistics_case("an array is short", lambda good: arrays_with(good, scale=np.ones(2)))
statistics_case("columns that are not there", lambda good: arrays_with(good, kept=np.array([99])))
statistics_case("objects", lambda good: arrays_with(good, scale=np.array([{}] * 6, object)))


def mapping_case(name: str, content: str, *said: str) -> None:
    def make(good: Good, folder: Path) -> list:
        (folder / "map.json").write_text(content)
        settings = good.settings()
        settings["training"] |= {
            "category_assignment": "manual",
            "category_mapping_file": str(folder / "map.json"),
        }
        (folder / "manual.yaml").write_text(yaml.safe_dump(settings))
        return [
            "cluster.", "--config", folder / "manual.yaml", "--subset", good.subset, "--statistics",
            good.statistics, "--categories", folder / "c", "--silhouette", folder / "s",
            "--linkage", folder / "l",
        ]  # fmt: skip

    CASES[f"mapping: {name}"] = (make, ("map.json", *said))


mapping_case("not JSON", "{", "cannot be read")
mapping_case("list", "[1]", "holds a list")
mapping_case("number for a list", '{"a": 3}', "'a' holds no list")
mapping_case("text for a list", '{"a": "summary_0"}', "'a' holds no list")
mapping_case("fraction", '{"a": [0.5]}', "no column index")
mapping_case("truth value", '{"a": [true]}', "no column index")
mapping_case("unknown feature", '{"a": ["vorticity"]}', "unknown features: vorticity")
mapping_case("column that is not there", '{"a": [99]}', "unknown features: 99")
mapping_case("a feature twice", '{"a": [0, 1, 2, 3, 4, 5, 0]}', "twice")
mapping_case("features left out", '{"a": [0]}', "leaves features out")
mapping_case("category twice", '{"a": [0], "a": [1]}', "stands twice")
mapping_case("name that leaves the file", '{"../a": [0, 1, 2, 3, 4, 5]}', "'../a' is no name")
mapping_case("nested too deep", "[" * 100_000, "nested too deep")


# --- models -------------------------------------------------------------------------------


def model_case(name: str, content: Callable[[Good], object], *said: str) -> None:
    """Register a model file: bytes, or entries that torch saves."""

    def make(good: Good, folder: Path) -> list:
        made = content(good)
        path = folder / "bad.pt"
        if isinstance(made, bytes):
            path.write_bytes(made)
        else:
            torch.save(made, path)
        return ["encode", good.dataset, "--model", path, "--output", folder / "tokens.h5"]

    CASES[f"model: {name}"] = (make, ("bad.pt", *said))


def with_entry(name: str, value: object) -> Callable[[Good], dict]:
    return lambda good: good.entries() | {name: value}


def without_entry(name: str) -> Callable[[Good], dict]:
    return lambda good: {key: value for key, value in good.entries().items() if key != name}


def with_nan(good: Good) -> dict:
    entries = good.entries()
    next(iter(entries["model_state_dict"].values())).fill_(float("nan"))
    return entries


def with_shape(**changes: object) -> Callable[[Good], dict]:
    def content(good: Good) -> dict:
        entries = good.entries()
        entries["model_shape"] |= changes
        return entries

    return content


class Trap:
    """A pickle that would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def of_a_long_series(good: Good) -> dict:
    columns = {"steps": 10**6, "channel": [0] * 6, "coefficient": [0] * 6}
    params = {
        "channels": [1],
        "kernel_size": 3,
        "output_dim": 2,
        "dropout": 0,
        "activation": "relu",
    }
    encoders = {"summary": {"encoder": "TemporalCNNEncoder", "encoder_params": params}}
    return with_shape(encoders=encoders, series={"summary": columns})(good)


def zip_of_a_trap(good: Good) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


model_case("random bytes", lambda good: bytes(range(256)) * 4, "cannot be read as a model")
model_case("empty", lambda good: b"", "cannot be read as a model")
model_case("cut", lambda good: good.model.read_bytes()[:5000], "cannot be read as a model")
model_case("pickle that runs code", lambda good: pickle.dumps(Trap()), "no archive of torch.save")
model_case("archive that runs code", zip_of_a_trap, "something else than plain values")
model_case("a list", lambda good: [1, 2], "holds no model")
model_case("another version", with_entry("format", "spinlock-model-0"), "spinlock-model-0")
model_case("missing weights", without_entry("model_state_dict"), "incomplete", "model_state_dict")
model_case("missing statistics", without_entry("feature_statistics"), "incomplete")
model_case("not a number", with_nan, "weights that are not numbers")
model_case("header of another table", with_entry("table_header", "{}"), "incomplete")
model_case("books larger than memory", with_shape(book_sizes=[[2**33] * 3] * 2), "the sizes of")
model_case("series longer than memory", of_a_long_series, "nconsistent", "allocate")
model_case("larger than memory", with_shape(hidden_dim=10**9), "does not fit the shape")
model_case("shape that is none", with_shape(partition=[]), "incomplete or inconsistent")
model_case("field that is none", with_shape(surprise=1), "incomplete or inconsistent")


@case("no such model file", "gone.pt")
def a_model_that_is_not_there(good, folder):
    return ["evaluate", "--model", folder / "gone.pt"]


@case("there is no subset.h5 beside the model", "name a dataset")
def a_model_without_its_subset(good, folder):
    (folder / "best_model.pt").write_bytes(good.model.read_bytes())
    return ["evaluate", "--model", folder / "best_model.pt"]


@case("settings in this model", "best_model.pt")
def a_model_of_other_settings(good, folder):
    torch.save(good.entries() | {"config": {"nonsense": 1}}, folder / "best_model.pt")
    return ["verify", folder]


@case("holds no training state", "bad.pt")
def resuming_from_a_model_without_state(good, folder):
    torch.save(good.entries() | {"training_state": {}}, folder / "bad.pt")
    return resumed(good, folder)


@case("made with other data", "bad.pt")
def resuming_from_a_model_of_other_data(good, folder):
    entries = good.entries()
    entries["provenance"]["data"] = "other"
    torch.save(entries, folder / "bad.pt")
    return resumed(good, folder)


def state_case(name: str, change: Callable[[dict], object], *said: str) -> None:
    """Register a checkpoint whose state a training should go on from."""

    def make(good: Good, folder: Path) -> list:
        entries = good.entries()
        change(entries)
        torch.save(entries, folder / "bad.pt")
        return resumed(good, folder)

    CASES[f"state: {name}"] = (make, ("incomplete or inconsistent", "bad.pt", *said))


def state_with(**changes: object) -> Callable[[dict], object]:
    return lambda entries: entries["training_state"].update(changes)


state_case("list", lambda entries: entries.update(training_state=[1]))
state_case("no epoch", lambda entries: entries["training_state"].pop("epoch"), "epoch")
state_case("text for an epoch", state_with(epoch="x"))
state_case("no model", lambda entries: entries["training_state"].pop("model"), "model")
state_case("no best model", lambda entries: entries["training_state"].pop("best"), "best")
state_case("weights of another shape", state_with(model={"decoder.own.bias": torch.zeros(3)}))
state_case("no provenance", lambda entries: entries.update(provenance=None))
state_case("no optimizer", lambda entries: entries.update(optimizer_state_dict={}))


def resumed(good: Good, folder: Path) -> list:
    return [
        "train.", "--config", good.config, "--subset", good.subset, "--statistics", good.statistics,
        "--categories", good.categories, "--output", folder / "out.pt", "--resume-from",
        folder / "bad.pt",
    ]  # fmt: skip


# --- tokens and metrics -------------------------------------------------------------------


def token_case(name: str, change: Callable[[h5py.File], object], *said: str) -> None:
    def make(good: Good, folder: Path) -> list:
        path = folder / "bad.h5"
        path.write_bytes(good.tokens.read_bytes())
        with h5py.File(path, "a") as file:
            change(file)
        return ["decode", path, "--model", good.model, "--output", folder / "features.csv"]

    CASES[f"tokens: {name}"] = (make, ("bad.h5", *said))


token_case("missing", replaced("tokens", None), "not a file of tokens")
token_case("fractions", replaced("tokens", np.zeros((40, 2, 3))), "not a file of tokens")
token_case("two axes", replaced("tokens", np.zeros((40, 6), int)), "not a file of tokens")
token_case("of another length", replaced("tokens", np.zeros((9, 2, 3), int)), "different lengths")
token_case("of another shape", replaced("tokens", np.zeros((40, 5, 3), int)), "this model reads")
token_case("not in the book", replaced("tokens", np.full((40, 2, 3), 999)), "not in its codebook")
token_case("negative", replaced("tokens", np.full((40, 2, 3), -1)), "not in its codebook")
token_case("of nobody", lambda file: file.attrs.pop("model_digest"), "which model made it")
token_case("of another model", lambda f: f.attrs.modify("model_digest", "x"), "another model")


def more_than_memory(digest: str | None, *shape: int) -> Callable[[h5py.File], object]:
    """Declare a thousand million rows, which take no room in the file."""

    def change(file: h5py.File) -> None:
        for name, one in (("tokens", shape), ("row_ids", ()), ("split", ())):
            del file[name]
            file.create_dataset(name, (10**9, *one), np.uint8, chunks=(1000, *one))
        file.attrs["model_digest"] = digest or file.attrs["model_digest"]

    return change


token_case("of another model, too many", more_than_memory("x", 2, 3), "another model")
token_case("of another shape, too many", more_than_memory(None, 5, 3), "this model reads")
token_case(
    "in another file", replaced("tokens", h5py.ExternalLink("other.h5", "/tokens")), "other.h5"
)


@case("not a file of tokens", "bad.h5")
def tokens_that_are_no_hdf5(good, folder):
    (folder / "bad.h5").write_bytes(b"\x89HDF" + bytes(99))
    return ["decode", folder / "bad.h5", "--model", good.model, "--output", folder / "f.csv"]


@case("levels is 9")
def more_levels_than_there_are(good, folder):
    output = folder / "f.csv"
    return ["decode", good.tokens, "--model", good.model, "--output", output, "--levels", 9]


@case("t.parquet", ".parquet is no suffix of what is written there", "name it t.h5 or t.hdf5")
def tokens_that_are_named_as_a_table(good, folder):
    return ["encode", good.dataset, "--model", good.model, "--output", folder / "t.parquet"]


@case("t.csv", ".csv is no suffix of what is written there", "name it t.parquet")
def a_table_of_tokens_in_another_format(good, folder):
    tables = ["--output", folder / "t.h5", "--parquet", folder / "t.csv"]
    return ["encode", good.dataset, "--model", good.model, *tables]


@case("is no suffix of what is written there", "name it f.parquet or f.csv")
def a_table_of_another_format(good, folder):
    return ["decode", good.tokens, "--model", good.model, "--output", folder / "f.xlsx"]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"targets": []}', "[" * 100_000])
def test_metrics_of_another_kind_are_told(content, good, tmp_path, run):
    (tmp_path / "metrics.json").write_text(content)
    status, message = run(["compare", tmp_path])
    assert status == 2
    assert "not a file of metrics" in message
    assert "what to do" in message


def test_metrics_with_a_part_missing_or_of_another_kind_are_told(good, tmp_path, run):
    path = tmp_path / "metrics.json"
    measured = json.loads(good.metrics.read_text())
    path.write_text(json.dumps(measured | {"rows": 3}))
    status, message = run(["compare", tmp_path])
    assert (status, "rows is no dict" in message) == (2, True)
    del measured["quality"]
    path.write_text(json.dumps(measured))
    status, message = run(["compare", path])
    assert (status, "'quality' is missing" in message) == (2, True)


# --- how a case is run --------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Give a function that runs a stage ("name.") or the command line: status and messages."""
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)

    def call(arguments: list, *options: str) -> tuple[int, str]:
        name, *rest = [*map(str, arguments), *options]
        monkeypatch.setattr("sys.argv", ["spinlock", name, *rest])
        main = partial(STAGES[name[:-1]], rest) if name.endswith(".") else cli.main
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, capsys.readouterr().err

    return call


@pytest.fixture
def bounded():
    """Limit memory beyond what is used already, and stop what hangs."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_MEMORY, before[1]))
    signal.alarm(HANGS_AFTER)
    yield
    signal.alarm(0)
    resource.setrlimit(resource.RLIMIT_AS, before)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_there_are_at_least_sixty_cases():
    assert len(CASES) >= 60


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux only")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("bounded")
def test_bad_input_gives_one_message_status_2_and_no_output(name, good, tmp_path, run):
    make, said = CASES[name]
    arguments = make(good, tmp_path)
    before = contents(tmp_path)
    status, message = run(arguments)
    assert status == 2, message
    assert message.count("error: ") == 1
    assert "Traceback" not in message
    assert "what to do: " in message
    for words in said:
        assert words in message
    assert contents(tmp_path) == before, "nothing is written, nothing half-written stays"


def test_verbose_shows_the_traceback(good, tmp_path, run):
    from spinlock.errors import SpinlockError

    for arguments in (["inspect", "gone.h5"], ["normalize.", "--config", "gone.yaml",
                      "--subset", "gone.h5", "--output", "out.npz"]):  # fmt: skip
        with pytest.raises(SpinlockError):
            run(arguments, "--verbose")


def test_the_good_files_are_good(good, tmp_path, monkeypatch):
    encode.run(good.model, [good.dataset], tmp_path / "tokens.h5", subset=good.subset)
    decode.run(good.model, tmp_path / "tokens.h5", tmp_path / "features.csv")
    assert read_metrics(good.metrics) == json.loads(good.metrics.read_text())
