"""The command line: what it prints, and how it fails."""

import errno
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from spinlock import cli
from spinlock.errors import SpinlockError
from spinlock.features.table import FeatureTable

BOTH = {"architecture": "MLPEncoder", "summary": "MLPEncoder"}


@pytest.fixture
def spinlock(monkeypatch, capsys):
    """Give a function that runs the command line: exit status, standard output, messages."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["spinlock", *map(str, arguments)])
        monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        shown = capsys.readouterr()
        return stopped.value.code, shown.out, shown.err

    return run


@pytest.fixture
def experiment(tmp_path, planted_features, write_dataset):
    dataset = write_dataset(planted_features(100))
    config = tmp_path / "small.yaml"
    config.write_text(
        f"dataset_path: {dataset}\n"
        "families: {architecture: {encoder: MLPEncoder}, summary: {encoder: MLPEncoder}}\n"
        "model: {bits: 24, group_hidden_dim: 8}\n"
        "training: {num_epochs: 2, batch_size: 64, num_categories_auto: 3, val_every_n_epochs: 1,\n"
        "  use_torch_compile: false}\n"
        "logging: {verbose: false}\n"
    )
    return config


def test_a_dry_run_checks_the_data_prints_the_settings_and_writes_nothing(
    spinlock, experiment, tmp_path
):
    before = sorted(tmp_path.iterdir())
    status, shown, _ = spinlock("train-vqvae", "--config", experiment, "--dry-run", "--epochs", 7)
    assert status == 0
    assert "num_epochs: 7" in shown
    assert '"rows": 100' in shown
    assert '"summary": [12]' in shown
    assert sorted(tmp_path.iterdir()) == before


def test_a_dry_run_and_a_training_tell_settings_that_are_hardly_meant(
    spinlock, experiment, tmp_path, caplog
):
    config = tmp_path / "doubtful.yaml"
    config.write_text(
        experiment.read_text().replace(
            "training: {", "training: {category_mapping_file: map.json, "
        )
    )
    sentence = (
        "training.category_mapping_file has no effect beside training.category_assignment: auto"
    )
    for option in (["--dry-run"], ["--epochs", 0]):
        caplog.clear()
        spinlock("train-vqvae", "--config", config, *option)
        assert [one.message for one in caplog.records].count(sentence) == 1
    caplog.clear()
    spinlock("train-vqvae", "--config", experiment, "--dry-run")
    assert not caplog.records


def test_a_command_tells_a_warning_once(monkeypatch, capsys, experiment, tmp_path):
    with h5py.File(tmp_path / "dataset.h5", "a") as file:
        file["features/summary"].attrs["feature_names"] = ["a", "b"]
    root = logging.getLogger()
    before = list(root.handlers)
    monkeypatch.setattr(logging, "basicConfig", lambda **k: root.addHandler(*k["handlers"]))
    command = ["train-vqvae", "--config", experiment, "--epochs", "1", "--output", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["spinlock", *map(str, command)])
    try:
        with pytest.raises(SystemExit):
            cli.main()
    finally:
        root.handlers[:] = before
    assert capsys.readouterr().err.count("family summary: feature_names has 2 names") == 1


def test_a_dataset_of_the_command_line_takes_the_place_of_the_settings_one(
    spinlock, experiment, tmp_path
):
    other = (tmp_path / "dataset.h5").rename(tmp_path / "other.h5")
    dry_run = ("train-vqvae", "--config", experiment, "--dry-run")
    assert spinlock(*dry_run)[0] == 2
    status, shown, _ = spinlock(*dry_run, "--dataset", other)
    assert status == 0
    assert f"dataset_path: {other}" in shown


def test_train_encode_decode_evaluate_compare_verify(spinlock, experiment, tmp_path):
    out = tmp_path / "model"
    model, tokens = out / "best_model.pt", tmp_path / "tokens.h5"
    dataset = tmp_path / "dataset.h5"
    assert spinlock("train-vqvae", "--config", experiment, "--output", out)[0] == 0
    status, shown, _ = spinlock("encode", dataset, "--model", model, "--output", tokens, "--json")
    assert status == 0
    assert json.loads(shown)["operators"] == 100
    with h5py.File(tokens) as file:
        assert file["tokens"].shape == (100, 3, 3)
    table = tmp_path / "features.csv"
    status, shown, _ = spinlock("decode", tokens, "--model", model, "--output", table)
    assert status == 0
    assert "features: 17" in shown
    decoded = pd.read_csv(table)
    with FeatureTable(out / "subset.h5") as subset:
        original = subset.read()
    assert list(decoded.columns)[1:] == [c.full_name for c in subset.columns]
    error = ((decoded.iloc[:, 1:].to_numpy() - original) ** 2).sum()
    assert error < 0.7 * ((original - original.mean(axis=0)) ** 2).sum()
    coarse = tmp_path / "coarse.csv"
    options = ["--model", model, "--output", coarse, "--levels", "1"]
    assert spinlock("decode", tokens, *options)[0] == 0
    worse = ((pd.read_csv(coarse).iloc[:, 1:].to_numpy() - original) ** 2).sum()
    assert worse > error
    status, shown, _ = spinlock("evaluate", "--model", model, "--json")
    assert status == 0
    assert json.loads(shown)["rows"]["measured_on"] == "test"
    metrics = out / "metrics.json"
    assert spinlock("evaluate", "--model", model, dataset, "--output", metrics)[0] == 0
    status, shown, message = spinlock("compare", out, "--json")
    assert (status, message) == (0, "")
    assert json.loads(shown)[str(out)]["rows"] == 100
    for read in (model.name, "subset.h5", "metrics.txt", "training_history.json"):
        assert spinlock("evaluate", "--model", model, "--output", model.with_name(read))[0] == 2
    status, shown, _ = spinlock("evaluate", "--model", model, dataset, "--baselines")
    assert status == 0
    assert "spinlock" in shown
    assert "pca_lloyd_max" in shown
    assert spinlock("verify", out)[0] == 1  # these metrics are not of held-out rows
    assert spinlock("evaluate", "--model", model, "--output", metrics)[0] == 0
    status, shown, _ = spinlock("verify", out)
    assert status == 0
    assert shown.splitlines() == [
        "settings: same", "code: same", "dataset: same", "data: same", "tokens: not there",
        "metrics: same",
    ]  # fmt: skip
    (out / "categories.json").write_text("{}")
    status, shown, _ = spinlock("verify", out, "--json")
    assert status == 1
    assert json.loads(shown)["data"] == "DIFFERS"
    with h5py.File(dataset, "r+") as file:
        file["features/summary/aggregated/features"][0, 0] = 7
    assert "dataset: DIFFERS" in spinlock("verify", out)[1]
    dataset.unlink()
    assert "dataset: not there" in spinlock("verify", out)[1]


def test_two_configurations_of_one_name_do_not_share_a_folder(
    spinlock, experiment, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q").mkdir()
    other = shutil.copy(experiment, tmp_path / "q")
    train = ("train-vqvae", "--epochs", 0, "--config")
    assert spinlock(*train, experiment)[0] == 0
    assert spinlock(*train, experiment, "--learning-rate", 0.5, "--dry-run")[0] == 0
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    for folder in (in_the_way, in_the_way / "inner"):
        status, _, message = spinlock(*train, other, "--output", folder, "--dry-run")
        assert status == 2
        assert "a file stands where a folder is wanted" in message
    for option in ((), ("--dry-run",)):
        status, _, message = spinlock(*train, other, *option)
        assert status == 2
        assert f"another configuration, {experiment}, and not of {other}" in message
    assert spinlock(*train, other, "--output", "apart", "--dry-run")[0] == 0


def test_an_exported_model_encodes_alike(spinlock, experiment, tmp_path):
    dataset, exported = tmp_path / "dataset.h5", tmp_path / "exported"
    spinlock("train-vqvae", "--config", experiment, "--output", tmp_path / "model")
    model = tmp_path / "model/best_model.pt"
    status, shown, _ = spinlock(
        "export", "--model", model, "--output", exported, "--format", "safetensors", "--format",
        "torch", "--json",
    )  # fmt: skip
    assert status == 0
    files = {"model.safetensors", "model.json", "encode.pt2", "decode.pt2"}
    assert {Path(path).name for path in json.loads(shown)["files"]} == files
    assert {path.name for path in exported.iterdir()} == files
    tokens = []
    for one in (model, exported / "model.safetensors"):
        written = tmp_path / f"{one.stem}.h5"
        assert spinlock("encode", dataset, "--model", one, "--output", written)[0] == 0
        with h5py.File(written) as file:
            tokens.append(file["tokens"][:])
        decoded = tmp_path / f"{one.stem}.parquet"
        other = {model: exported / "model.safetensors"}.get(one, model)
        assert spinlock("decode", written, "--model", other, "--output", decoded)[0] == 0
    np.testing.assert_array_equal(*tokens)
    assert pd.read_parquet(tmp_path / "model.parquet").equals(
        pd.read_parquet(tmp_path / "best_model.parquet")
    )


def test_the_formats_are_those_of_the_stage():
    from spinlock.commands.export import FORMATS

    assert {kind.value for kind in cli.ExportFormat} == set(FORMATS)


def test_experiments_stand_side_by_side(spinlock, tmp_path):
    measured = {
        "targets": [{"met": True}, {"met": False}], "bits": {"nominal": 24.0},
        "rows": {"test": 10, "pairs_of": 10, "measured_on": "test"},
        "baselines": {"pq": {"quality": 0.5}, "rq": {"quality": None},
                      "gaussian_reference": {"quality": 0.99}},
        "quality": 0.75, "values_digest": "0", "utilization": 1.0, "orthogonality": None,
        "topographic": 0.5,
        "trustworthiness": 0.9, "cleaning": {}, "quality_by_feature": {},
        "quality_before_caps": {"pooled": 0.7},
    }  # fmt: skip
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(measured))
    folders = [tmp_path / "one", tmp_path / "other/metrics.json"]
    status, shown, _ = spinlock("compare", *folders, "--json")
    table = json.loads(shown)
    assert (status, list(table)) == (0, [str(one) for one in folders])
    assert table[str(folders[0])]["best baseline"] == 0.5
    assert table[str(folders[0])]["targets met"] == 1
    status, shown, _ = spinlock("compare", *folders)
    assert status == 0
    assert shown.count("0.75") == 2


def test_the_version_is_that_of_the_package(spinlock):
    from spinlock import __version__

    assert spinlock("--version")[:2] == (0, f"spinlock {__version__}\n")


COMMANDS = [command.name or command.callback.__name__ for command in cli.app.registered_commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_gives_an_example_that_it_would_take(spinlock, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    status, shown, _ = spinlock(command, "--help")
    assert status == 0
    line = next(one for one in shown.splitlines() if "Example:" in one)
    words = shlex.split(line.split("Example:")[1])
    assert words[:2] == ["spinlock", command]
    named = get_command(cli.app).commands[command]
    with named.make_context(command, words[2:]) as context:
        assert all(value is not None for value in (context.params[p.name] for p in named.params
                                                   if p.required))  # fmt: skip


def test_the_shell_completes_commands(monkeypatch):
    monkeypatch.setenv("_SPINLOCK_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "spinlock en")
    monkeypatch.setenv("COMP_CWORD", "1")
    done = CliRunner().invoke(cli.app, [], prog_name="spinlock")
    assert done.stdout.split() == ["encode"]


def test_training_can_be_extended_from_its_own_checkpoint(spinlock, experiment, tmp_path):
    for name, options in {"whole": ["--epochs", 4], "part": ["--epochs", 2]}.items():
        spinlock("train-vqvae", "--config", experiment, "--output", tmp_path / name, *options)
    resumed = ["--resume-from", tmp_path / "part/best_model.pt", "--epochs", 4]
    status, _, _ = spinlock(
        "train-vqvae", "--config", experiment, "--output", tmp_path / "resumed", *resumed
    )
    assert status == 0
    histories = [
        json.loads((tmp_path / name / "training_history.json").read_text())
        for name in ("whole", "resumed")
    ]
    assert histories[0] == histories[1]


def test_a_checkpoint_of_other_settings_is_refused_with_the_reason(spinlock, experiment, tmp_path):
    spinlock("train-vqvae", "--config", experiment, "--output", tmp_path / "a")
    status, _, message = spinlock(
        "train-vqvae", "--config", experiment, "--output", tmp_path / "b", "--learning-rate", 0.5,
        "--resume-from", tmp_path / "a/best_model.pt",
    )  # fmt: skip
    assert status == 2
    assert "made with other settings (training.learning_rate)" in message


def test_inspect_counts_gaps_and_constants(spinlock, planted_features, write_dataset):
    values = planted_features(30)
    values["summary"][3:6, 2] = np.nan
    values["summary"][:, 4] = 5.0
    status, shown, _ = spinlock("inspect", write_dataset(values), "--json")
    found = json.loads(shown)["families"]["summary"]
    assert status == 0
    assert (found["rows_with_gaps"], found["columns_with_gaps"]) == (3, 1)
    assert found["constant_columns"] == 1


def test_inspect_names_columns_with_gaps_and_constants(spinlock, planted_features, write_dataset):
    values = planted_features(30)
    values["summary"][3:6, 2] = np.nan
    values["summary"][:, 4] = 5.0
    _, shown, _ = spinlock("inspect", write_dataset(values))
    lines = shown.splitlines()
    assert lines[-4:-2] == ["  gaps: summary_2 (3)", "  constant: summary_4"]
    assert lines[-5].startswith("summary: ")


def test_inspect_breaks_no_name_of_five_families(spinlock, write_dataset, monkeypatch):
    names = [f"observables_{i:02d}_abc" for i in range(5)]
    dataset = write_dataset({name: np.full((30, 300), -1e12) for name in names})
    monkeypatch.setenv("COLUMNS", "80")
    _, shown, _ = spinlock("inspect", dataset)
    assert all(f"│ {name} │ [30, 300]" in shown for name in names)
    assert max(map(len, shown.splitlines()[:11])) <= 80


def test_inspect_shows_families_side_by_side(spinlock, planted_features, write_dataset):
    dataset = write_dataset(planted_features(30))
    with h5py.File(dataset, "a") as file:
        file["metadata/kind"] = ["a", "b", "c"] * 10
    status, shown, _ = spinlock("inspect", dataset)
    assert status == 0
    lines = shown.splitlines()
    assert lines[0] == "30 operators"
    assert all(family in shown for family in ("architecture", "summary"))
    assert "architecture: float32, 0.001 MB; architecture_0, architecture_1, " in shown
    assert "architecture_4\n" in shown
    assert "summary_4, …\n" in shown
    assert lines[-2:] == ["initial fields: none", "labels: /metadata/kind (3 values)"]


def test_export_names_the_files_and_their_sizes(spinlock, experiment, tmp_path):
    model = tmp_path / "model/best_model.pt"
    spinlock("train-vqvae", "--config", experiment, "--output", model.parent)
    status, shown, _ = spinlock(
        "export", "--model", model, "--output", tmp_path / "e", "--format", "safetensors"
    )
    assert status == 0
    files = [line.rsplit(" (", 1)[0] for line in shown.splitlines()]
    assert files == [str(tmp_path / "e" / name) for name in ("model.safetensors", "model.json")]


def test_export_takes_a_grid_where_the_model_reads_fields(spinlock, experiment, tmp_path):
    model = tmp_path / "model/best_model.pt"
    spinlock("train-vqvae", "--config", experiment, "--output", model.parent)
    command = ("export", "--model", model, "--output", tmp_path / "e", "--grid")
    status, _, shown = spinlock(*command, 16)
    assert (status, shown.splitlines()[0]) == (
        2, "error: a grid is given, and this model reads no initial fields",
    )  # fmt: skip
    status, _, shown = spinlock(*command, 0)
    assert status == 2
    assert "--grid" in shown
    assert not (tmp_path / "e").exists()


def test_verbose_shows_where_a_mistake_was_found(monkeypatch):
    monkeypatch.setattr("sys.argv", ["spinlock", "inspect", "absent.h5", "--verbose"])
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    with pytest.raises(SpinlockError, match="does not exist"):
        cli.main()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "absent.h5"], "the dataset does not exist"),
        (["inspect", "."], "this is a folder"),
        (["train-vqvae", "--config", "absent.yaml"], "absent.yaml"),
        (["evaluate", "--model", "absent.pt"], "there is no such model file"),
        (["compare", "absent"], "no file of metrics"),
        (
            ["decode", "absent.h5", "--model", "absent.pt", "--output", "x.xlsx"],
            "no suffix of what is written",
        ),
        (["evaluate", "--model", "."], "this is a folder"),
        (["verify", "absent"], "there is no such model file"),
        (["verify", "x" * 300], "the file cannot be used: File name too long"),
        (["compare", "x" * 300], "the file cannot be used: File name too long"),
    ],
)
def test_a_mistake_gives_one_message_and_status_2(
    spinlock, monkeypatch, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    status, _, shown = spinlock(*arguments)
    assert status == 2
    assert shown.startswith("error: ")
    assert message in shown
    assert list(Path(tmp_path).iterdir()) == []


def test_a_generated_dataset_is_one_file(spinlock, tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text("{num_operators: 5, shard_size: 2, grid_size: 8, steps: 8, max_depth: 1}\n")
    status, _, _ = spinlock(
        "generate", "--config", config, "--output", tmp_path / "tiny.h5", "--workers", 1
    )
    assert status == 0
    with h5py.File(tmp_path / "tiny.h5") as file:
        assert file["features/temporal/features"].shape == (5, 8, 63)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.h5", "tiny.yaml"]


def shown_by_program(*arguments, **options):
    command = [sys.executable, "-m", "spinlock.cli", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, check=False, text=True, **options)


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_result_that_cannot_be_shown_is_told(write_dataset, planted_features, options):
    dataset = write_dataset(planted_features(20))
    with Path("/dev/full").open("w") as full:
        done = shown_by_program("inspect", dataset, *options, stdout=full)
    assert done.stderr == "error: cannot show the result: No space left on device\n"
    assert done.returncode == 2


def test_what_the_system_refuses_is_not_taken_for_the_result(monkeypatch, capfd):
    def refuse():
        raise BlockingIOError(errno.EAGAIN, "no process is left")

    monkeypatch.setattr(cli, "app", refuse)
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capfd.readouterr().err == "error: no process is left\n"


def test_names_that_an_encoding_lacks_are_shown_by_their_numbers(write_dataset, planted_features):
    dataset = write_dataset({"é": planted_features(20)["summary"]})
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = shown_by_program("inspect", dataset, stdout=subprocess.PIPE, env=ascii_only)
    assert done.returncode == 0, done.stderr
    assert "\\xe9" in done.stdout
