"""Settings files with something wrong: one message, with the file and the key, and no traceback."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.settings import Experiment, load_dataset_settings, load_experiment

GOOD = """\
dataset_path: data.h5
families:
  summary:
    encoder: MLPEncoder
"""
HEAD = "dataset_path: data.h5\n"


def case(name: str, text: str, *said: str):
    return pytest.param(text, said, id=name)


def more(name: str, text: str, *said: str):
    """Give a case that adds something wrong to a file that is right."""
    return case(name, GOOD + text, *said)


def family(name: str, text: str, *said: str):
    """Give a case in which a family is wrong."""
    return case(name, f"{HEAD}families: {{summary: {text}}}\n", *said)


WRONG_TYPES = [
    more("text for a whole number", "max_samples: many", "max_samples", "integer", "'many'"),
    more("quoted number", 'training: {batch_size: "512"}', "training.batch_size", "'512'"),
    more("fraction for a whole number", "training: {batch_size: 1.5}", "training.batch_size"),
    more("true for a whole number", "training: {batch_size: true}", "training.batch_size"),
    more("true for a fraction", "training: {learning_rate: true}", "training.learning_rate"),
    more("text for a truth value", "model: {use_ema: 'no'}", "model.use_ema", "boolean"),
    more("number for a truth value", "model: {use_ema: 1}", "model.use_ema", "boolean"),
    more("list for a section", "training: [1, 2]", "training", "[1, 2]"),
    more("text for a section", "model: big", "model", "'big'"),
    more("null for a number", "training: {num_epochs: null}", "training.num_epochs"),
    more("number for text", "device: 0", "device"),
    more("date for text", "split: {group_by: 2024-01-01}", "split.group_by"),
    case(
        "list for a path",
        "dataset_path: [a, b]\nfamilies: {a: {}}",
        "dataset_path: must be one",
        "spinlock.stages.concatenate",
    ),
    case("number for a path", "dataset_path: 3\nfamilies: {a: {}}", "dataset_path"),
    case("families as a list", HEAD + "families: [summary]", "families"),
    family("null for a family", "null", "families.summary"),
    family("text for a family", "MLPEncoder", "families.summary"),
    family("list for encoder_params", "{encoder_params: [64]}", "families.summary.encoder_params"),
    family(
        "number for a list of widths",
        "{encoder_params: {hidden_dims: 64}}",
        "families.summary.encoder_params.hidden_dims",
    ),
    more("number for levels", "model: {levels: 3}", "model.levels"),
    more("text for a level", "model: {levels: [big]}", "model.levels.0"),
]
RANGES = [
    more("too few samples", "max_samples: 3", "max_samples", "4"),
    more("negative seed", "random_seed: -1", "random_seed"),
    more("seed beyond 31 bits", "random_seed: 2147483648", "random_seed"),
    more("no rows per batch", "training: {batch_size: 0}", "training.batch_size"),
    more("learning rate zero", "training: {learning_rate: 0.0}", "training.learning_rate"),
    more("negative weight", "training: {topo_weight: -0.1}", "training.topo_weight", "-0.1"),
    more("decay of one", "model: {decay: 1.0}", "model.decay"),
    more("dropout of one", "model: {dropout: 1}", "model.dropout"),
    more("quality of one", "model: {target_quality: 1.0}", "model.target_quality"),
    more("one code", "model: {max_tokens: 1}", "model.max_tokens"),
    more("no codes", "model: {levels: [{num_tokens: 0}]}", "model.levels.0.num_tokens"),
    more(
        "no codes in one category",
        "model: {levels: {flow: [{num_tokens: 0}]}}",
        "model.levels.flow.0.num_tokens",
    ),
    more("nine levels", f"model: {{levels: [{', '.join(['{}'] * 9)}]}}", "model.levels", "8"),
    more("no category", "training: {num_categories_auto: 0}", "training.num_categories_auto"),
    more("NaN", "training: {learning_rate: .nan}", "training.learning_rate", "nan"),
    more("infinity", "model: {commitment_cost: .inf}", "model.commitment_cost", "inf"),
    more("infinity for a whole number", "training: {num_epochs: .inf}", "training.num_epochs"),
    more("overflow to infinity", "model: {commitment_cost: 1e999}", "model.commitment_cost"),
    more("unknown device", "device: gpu", "device", "cuda:N", "'gpu'"),
    more("device without a number", "device: 'cuda:'", "device"),
    more("unknown optimiser", "training: {optimizer: adan}", "training.optimizer", "'adamw'"),
    more("unknown scheduler", "training: {scheduler: none}", "training.scheduler", "'cosine'"),
    more("unknown way", "normalization_method: robust", "normalization_method", "'mad'"),
    more(
        "unknown word for K",
        "training: {num_categories_auto: silhouette}",
        "training.num_categories_auto",
        "'validation'",
    ),
    case("empty path", "dataset_path: ''\nfamilies: {a: {}}", "dataset_path"),
    case("no family", HEAD + "families: {}", "families"),
    family(
        "unknown encoder", "{encoder: MLPEncodr}", "families.summary.encoder", "known: ", "MLPEnc"
    ),
    family(
        "unknown activation",
        "{encoder_params: {activation: swish}}",
        "families.summary.encoder_params.activation",
        "'silu'",
    ),
    family(
        "hidden layer without units",
        "{encoder_params: {hidden_dims: [64, 0]}}",
        "families.summary.encoder_params.hidden_dims.1",
    ),
    family(
        "even kernel",
        "{encoder: InitialCNNEncoder, encoder_params: {kernel_size: 4}}",
        "families.summary.encoder_params.kernel_size",
        "odd",
    ),
    family(
        "no convolution",
        "{encoder: TemporalCNNEncoder, encoder_params: {channels: []}}",
        "families.summary.encoder_params.channels",
    ),
]
UNKNOWN_KEYS = [
    more("misspelt section", "trainin: {}", "trainin", "did you mean 'training'?"),
    more("misspelt key", "training: {batchsize: 4}", "training.batchsize", "mean 'batch_size'?"),
    more("key of another section", "training: {decay: 0.9}", "training.decay", "known keys: "),
    more("nothing near", "split: {zzz: 1}", "split.zzz", "known keys: val_fraction"),
    more(
        "misspelt in a level",
        "model: {levels: [{num_token: 8}]}",
        "model.levels.0.num_token",
        "did you mean 'num_tokens'?",
    ),
    more(
        "misspelt in a category's level",
        "model: {levels: {flow: [{num_token: 8}]}}",
        "model.levels.flow.0.num_token",
        "did you mean 'num_tokens'?",
    ),
    case("misspelt families", HEAD + "family: {a: {}}", "family", "did you mean 'families'?"),
    family("misspelt encoder", "{encodr: MLPEncoder}", "families.summary.encodr", "'encoder'?"),
    family(
        "misspelt parameter",
        "{encoder_params: {hidden_dim: [64]}}",
        "families.summary.encoder_params.hidden_dim",
        "did you mean 'hidden_dims'?",
    ),
    family(
        "parameter of another encoder",
        "{encoder: MLPEncoder, encoder_params: {kernel_size: 3}}",
        "families.summary.encoder_params.kernel_size",
        "known keys: hidden_dims, output_dim, dropout, activation, batch_norm",
    ),
    family(
        "parameter of an encoder without any",
        "{encoder: IdentityEncoder, encoder_params: {output_dim: 8}}",
        "families.summary.encoder_params.output_dim",
        "known keys: none",
    ),
    more("key named like a type", "int: 3", "int: unknown key", "known keys: dataset_path"),
    more("key named like a list", "list[int]: 3", "list[int]: unknown key"),
    more("type's name in a section", "training: {str: 3}", "training.str: unknown key"),
    case(
        "family named like a type",
        HEAD + "families: {int: {encoder: X}}",
        "families.int.encoder: unknown encoder",
    ),
]
MISSING = [
    case("no dataset", "families: {a: {}}", "dataset_path: this key is required"),
    case("no families", HEAD, "families: this key is required"),
    case("nothing right", "{}", "dataset_path: this key", "families: this key"),
]
CONTRADICTIONS = [
    more("no row trains", "split: {val_fraction: 0.5, test_fraction: 0.5}", "val_fraction"),
    more("manual without a mapping", "training: {category_assignment: manual}", "category_mapping"),
    more("levels of different length", "model: {levels: {a: [{}], b: [{}, {}]}}", "model.levels"),
    more("category without levels", "model: {levels: {a: [{}], b: []}}", "model.levels"),
    more(
        "percentile beyond half",
        "feature_cleaning: {outlier_method: percentile, outlier_bound: 50}",
        "outlier_bound must be below 50",
    ),
]
NOT_YAML = [
    case("empty file", "", "not a mapping"),
    case("only a comment", "# nothing\n", "not a mapping"),
    case("list", "- dataset_path: data.h5\n", "not a mapping"),
    case("plain text", "hello", "not a mapping"),
    case("number", "42", "not a mapping"),
    case("two documents", GOOD + "---\n" + GOOD, "not valid YAML", "line 5"),
    case("tab as indentation", HEAD + "families:\n\tsummary: {}\n", "tab", "line 3"),
    case("unclosed bracket", HEAD + "families: {summary: {", "not valid YAML", "line 2"),
    case("unclosed quote", 'dataset_path: "data.h5\n', "not valid YAML"),
    case("bad indentation", GOOD + "   encoder: x\n", "not valid YAML", "line"),
    more("duplicate key", "random_seed: 1\nrandom_seed: 1\n", "'random_seed' stands twice", "6"),
    more(
        "duplicate key deep inside",
        "model:\n  levels: {a: [{num_tokens: 8, num_tokens: 8}]}",
        "'num_tokens' stands twice",
        "line 6",
    ),
    more("key that is no text", "1: 2\n", "the key 1 is not text", "line 5"),
    more("key that YAML takes for true", "on: 2\n", "the key True is not text", "line 5"),
    more("key that is a list", "? [a, b]\n: 2\n", "['a', 'b'] is not text"),
    more(
        "python object",
        "device: !!python/object/apply:os.system ['echo broken']\n",
        "python/object/apply",
        "line 5",
    ),
    more("python name", "device: !!python/name:os.system\n", "python/name", "line 5"),
    more("unknown tag", "device: !secret cpu\n", "!secret", "line 5"),
    more("number by a tag", "max_samples: !!int ''\n", "tags (tag:yaml.org,2002:int)", "line 5"),
    more("truth value by a tag", "model: {use_ema: !!bool maybe}\n", "2002:bool", "line 5"),
    more("date by a tag", "random_seed: !!timestamp x\n", "2002:timestamp", "line 5"),
    more("mapping by a tag", "model: !!set {bits}\n", "2002:set", "line 5"),
    more("list by a tag", "model: {levels: !!omap []}\n", "2002:omap", "line 5"),
    more("binary by a tag", "device: !!binary Y3B1\n", "2002:binary", "line 5"),
    more("text by a tag", "device: ! cpu\n", "tags (!)", "line 5"),
    more("alias", "model: &m {bits: 9}\ntraining: *m\n", "aliases (*name) are not allowed", "6"),
    more("merge key", "<<: {random_seed: 1}\n", "not valid YAML", "line 5"),
    more("impossible date", "device: 2024-99-99\n", "not valid YAML"),
    case("binary file", bytes(range(256)), "cannot be read"),
    case("HDF5 file", b"\x89HDF\r\n\x1a\n" + bytes(64), "cannot be read"),
    case("control characters", HEAD + "device: \x07\n", "not valid YAML"),
    case("Latin-1", "dataset_path: d\xe4ta.h5".encode("latin-1"), "cannot be read"),
    case("UTF-16", GOOD.encode("utf-16"), "cannot be read"),
    case("null bytes", bytes(100), "not valid YAML"),
]
LAUGHS = "a: &a [x, x]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
BOMBS = [
    case("a billion laughs", LAUGHS, "aliases"),
    case("an alias of itself", "a: &a [*a]", "aliases"),
    more("deep lists", "model: {levels: " + "[" * 50_000, "not valid YAML"),
    more("deep mappings", "model: " + "{a: " * 20_000, "not valid YAML"),
    more("deep keys", "? " * 40_000, "not valid YAML"),
    more("long list", f"model: {{levels: [{'a,' * 45_000}]}}", "model.levels"),
    more("many keys", "\n".join(f"k{i}: 1" for i in range(8_000)), "k7999: unknown key"),
    more("huge number", f"random_seed: {'9' * 90_000}", "4300 digits"),
    more("huge hexadecimal number", f"random_seed: 0x{'f' * 90_000}", "random_seed", "number"),
    more("huge sexagesimal number", f"random_seed: 1{':59' * 30_000}", "random_seed", "number"),
]


def test_a_file_of_the_other_kind_is_told_where_it_belongs_and_known_keys_once(write):
    path = write(GOOD + "model: {bits: 24}\ntraining: {num_epochs: 3}\n")
    with pytest.raises(SpinlockError, match="families: unknown key") as caught:
        load_dataset_settings(path)
    assert caught.value.problem.count("known keys: num_operators") == 1
    assert "configs/vqvae" in caught.value.remedy
    assert "`spinlock train-vqvae`" in caught.value.remedy
    with pytest.raises(SpinlockError, match="num_operators: unknown key") as caught:
        load_experiment(write("num_operators: 9\nsteps: 9\ngrid_size: 9\n"))
    assert "`spinlock generate`" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "said"),
    WRONG_TYPES + RANGES + UNKNOWN_KEYS + MISSING + CONTRADICTIONS + NOT_YAML,
)
def test_message_names_the_file_the_key_and_what_is_wrong(write, content, said):
    path = write(content)
    with pytest.raises(SpinlockError) as caught:
        load_experiment(path)
    message = str(caught.value)
    assert str(path) in message
    for words in said:
        assert words in message
    assert len(message) < 2000


@pytest.mark.parametrize(("content", "said"), BOMBS)
def test_bombs_take_little_time(write, content, said):
    path = write(content)
    started = time.process_time()
    with pytest.raises(SpinlockError) as caught:
        load_experiment(path)
    assert time.process_time() - started < 5
    message = str(caught.value)
    assert str(path) in message
    for words in said:
        assert words in message


READ_ALL = """
import resource, sys
from spinlock.errors import SpinlockError
from spinlock.settings import load_experiment
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))
for path in sys.argv[1:]:
    try:
        load_experiment(path)
    except SpinlockError:
        print("told")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux only")
def test_bombs_take_little_memory(tmp_path):
    paths = [tmp_path / f"{i}.yaml" for i in range(len(BOMBS) + 1)]
    for path, bomb in zip(paths, BOMBS, strict=False):
        path.write_text(bomb.values[0], encoding="utf-8")
    paths[-1].touch()
    os.truncate(paths[-1], 10_000_000_000)
    run = subprocess.run(
        [sys.executable, "-c", READ_ALL, *paths], capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    assert run.stdout.split() == ["told"] * len(paths)


def test_a_large_file_is_not_read(write):
    path = write(GOOD)
    os.truncate(path, 10_000_000_000)
    with pytest.raises(SpinlockError, match="larger than") as caught:
        load_experiment(path)
    assert str(path) in str(caught.value)


def test_a_bad_file_runs_no_code(write, tmp_path):
    mark = tmp_path / "broken"
    path = write(f"{GOOD}device: !!python/object/apply:os.mkdir ['{mark}']\n")
    with pytest.raises(SpinlockError):
        load_experiment(path)
    assert not mark.exists()


def test_all_that_is_wrong_is_told_at_once(write):
    path = write(f"{GOOD}device: gpu\nmodel: {{decay: 2.0}}\ntraining: {{topo_weigth: 1.0}}\n")
    with pytest.raises(SpinlockError) as caught:
        load_experiment(path)
    for key in ("device", "model.decay", "training.topo_weigth"):
        assert key in str(caught.value)


def test_nothing_is_told_twice(write):
    path = write(GOOD + "model: {levels: [{num_tokens: 0}, {num_tokens: 0}]}\n")
    with pytest.raises(SpinlockError) as caught:
        load_experiment(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4, "one line for each of two levels, the file, and what to do"


def test_a_file_of_the_other_suffix_is_named(tmp_path, monkeypatch):
    (tmp_path / "mine.yml").touch()
    with pytest.raises(SpinlockError, match=r"there is .*mine\.yml"):
        load_experiment(tmp_path / "mine.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpinlockError, match=str(tmp_path)):
        load_experiment("other.yaml")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(SpinlockError, match=r"no such configuration file[\s\S]*gone\.yaml"):
        load_experiment(tmp_path / "gone.yaml")
    with pytest.raises(SpinlockError, match="a folder and no configuration file") as caught:
        load_experiment(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a mapping"),
        ("steps: 64", "num_operators: this key is required"),
        ("num_operators: 10\nnum_operator: 10", "did you mean 'num_operators'?"),
        ("num_operators: 0", "num_operators"),
        ("num_operators: 10.0", "num_operators"),
        ("num_operators: 10\nchannels: 17", "channels"),
        ("num_operators: 10\ngrid_size: 7", "grid_size"),
        ("num_operators: 10\nrealizations: 1", "realizations"),
        ("num_operators: 10\ndivergence_bound: .inf", "divergence_bound"),
        ("num_operators: 10\ninitial_conditions: []", "initial_conditions"),
        ("num_operators: 10\ninitial_conditions: [blob]", "initial_conditions.0"),
        ("num_operators: 10\nevolution_policies: residual", "evolution_policies"),
    ],
)
def test_dataset_settings_are_as_strict(write, text, said):
    path = write(text)
    with pytest.raises(SpinlockError) as caught:
        load_dataset_settings(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def problem_with(path: Path) -> str | None:
    try:
        load_experiment(path)
    except SpinlockError as error:
        return str(error)
    return None


def paths_of(values: object, path: tuple = ()) -> list[tuple]:
    """Return the path of every value inside `values`."""
    items = values.items() if isinstance(values, dict) else []
    items = enumerate(values) if isinstance(values, list) else items
    return [path, *(place for key, one in items for place in paths_of(one, (*path, key)))]


FULL = Experiment.model_validate(
    {
        "dataset_path": "data.h5",
        "families": {"a": {"encoder": "TemporalCNNEncoder"}, "b": {"encoder": "MLPEncoder"}},
        "model": {"levels": {"one": [{"num_tokens": 8}]}},
    }
).model_dump(mode="json")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["encoder", "int", "a[b", "levels"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(paths_of(FULL)[1:]), VALUES)
def test_whatever_stands_at_a_key_it_is_accepted_or_explained(tmp_path_factory, place, value):
    values = json.loads(json.dumps(FULL))
    section = values
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    path = tmp_path_factory.mktemp("fuzz") / "experiment.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    problem = problem_with(path)
    assert problem is None or str(path) in problem


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60) | st.text("a:{}[]-?!&*'\"\n\t #|>%@`,<=~0.", max_size=40))
def test_whatever_a_file_holds_it_is_explained(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "experiment.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SpinlockError) as caught:
        load_experiment(path)
    assert str(path) in str(caught.value)
