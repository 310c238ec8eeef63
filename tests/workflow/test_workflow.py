"""The workflow on a tiny experiment, as a user meets it."""

import json
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

OUTPUTS = (
    "best_model.pt", "normalization_stats.npz", "training_history.json", "config.yaml",
    "provenance.json", "metrics.json", "baselines.csv", "tokens.h5", "tokens.parquet",
    "report.html", "figures/training.svg", "figures/rate_distortion.png",
)  # fmt: skip
CHECKPOINT_CONTENTS = {
    "model_state_dict", "optimizer_state_dict", "group_indices", "normalization_stats",
    "feature_names", "config", "history", "val_loss", "metrics",
}  # fmt: skip


@pytest.fixture
def results(workspace):
    return workspace.path / "results/tiny"


def test_every_output_of_the_seed_is_there(results):
    assert [name for name in OUTPUTS if not (results / name).is_file()] == []
    assert not (results / "state/last.pt").exists()


def test_the_checkpoint_holds_what_the_seed_lists_and_runs_no_code(results):
    entries = torch.load(results / "best_model.pt", weights_only=True)
    assert set(entries) >= CHECKPOINT_CONTENTS
    assert entries["optimizer_state_dict"]["param_groups"]
    assert sorted(i for members in entries["group_indices"].values() for i in members) == list(
        range(len(entries["feature_names"]))
    )


def test_normalization_stats_are_per_category(results):
    with np.load(results / "normalization_stats.npz", allow_pickle=False) as stats:
        names = {key.split("/")[0] for key in stats}
        categories = json.loads((results / "categories.json").read_text())
        assert names == set(categories)
        for name, members in categories.items():
            assert stats[f"{name}/mean"].shape == stats[f"{name}/std"].shape == (len(members),)
            assert stats[f"{name}/features"].tolist() == members


def test_metrics_are_measured_on_rows_that_no_fit_has_seen(results):
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["rows"]["measured_on"] == "test"
    assert metrics["rows"]["train"] + metrics["rows"]["validation"] + metrics["rows"]["test"] == 80
    assert [t["name"] for t in metrics["targets"]] == [
        "quality", "utilization", "orthogonality", "topographic",
    ]  # fmt: skip
    levels = list(metrics["quality_by_level"].values())
    assert levels == sorted(levels)


def test_tokens_cover_all_operators_of_the_dataset(results):
    table = pd.read_parquet(results / "tokens.parquet")
    with h5py.File(results / "tokens.h5") as file:
        tokens, split = file["tokens"][:], file["split"][:]
        np.testing.assert_array_equal(tokens.reshape(len(tokens), -1), table.iloc[:, 2:])
    assert len(table) == 90
    assert (split == -1).sum() == 10


def test_logs_and_benchmarks_carry_the_names_of_the_rules(results):
    stages = {"subset", "normalize", "cluster", "train", "evaluate", "encode", "visualize"}
    assert {path.stem for path in (results / "logs").glob("*.log")} == stages
    assert {path.stem for path in (results / "benchmarks").glob("*.tsv")} == stages


def test_the_report_of_snakemake_has_every_figure_with_its_caption(workspace, results, tmp_path):
    made = tmp_path / "report.zip"
    files = [f"results/tiny/{name}" for name in ("metrics.json", "report.html")]
    workspace.snakemake("--report", str(made), *files)
    with zipfile.ZipFile(made) as archive:
        held = {Path(name).name for name in archive.namelist()}
        (page,) = (archive.read(n) for n in archive.namelist() if n.count("/") == 1)
    figures = {path.name for path in (results / "figures").glob("*.png")}
    assert len(figures) > 10
    assert held >= {*figures, "metrics.json", "baselines.csv"}
    for caption in (
        "A figure of",
        "The vocabulary of",
        "of other quantisers",
        "Everything that was",
    ):
        assert caption.encode() in page


def test_the_command_line_gives_the_same_model_tensor_for_tensor(workspace, results):
    arguments = ("--config", "configs/vqvae/tiny.yaml", "--threads", "2")
    workspace.run("-m", "spinlock.cli", "train-vqvae", *arguments)
    ours = torch.load(workspace.path / "checkpoints/tiny/best_model.pt", weights_only=True)
    theirs = torch.load(results / "best_model.pt", weights_only=True)
    assert ours["model_state_dict"].keys() == theirs["model_state_dict"].keys()
    for name, tensor in ours["model_state_dict"].items():
        assert torch.equal(tensor, theirs["model_state_dict"][name]), name
    assert ours["history"] == theirs["history"]


def test_the_results_say_what_made_them(workspace, results):
    made = json.loads((results / "provenance.json").read_text())
    assert made.keys() >= {
        "spinlock", "git_commit", "python", "libraries", "random_seed", "device", "threads",
        "processes", "settings", "code", "data", "dataset",
    }  # fmt: skip
    assert made["libraries"].keys() >= {"torch", "numpy", "h5py"}
    shown = workspace.run("-m", "spinlock.cli", "verify", "results/tiny").stdout.splitlines()
    assert shown[:6] == [
        "settings: same", "code: same", "dataset: same", "data: same", "tokens: same",
        "metrics: same",
    ]  # fmt: skip
    stages = ("cluster", "encode", "evaluate", "normalize", "subset", "train", "visualize")
    assert all(f"{stage} " in shown[6] for stage in stages)


def test_an_unknown_experiment_names_the_known_ones_the_nearest_first(workspace):
    shown = workspace.snakemake("results/tinny/best_model.pt", check=False)
    assert shown.returncode != 0
    assert "known: tiny, other" in shown.stdout + shown.stderr


@pytest.mark.parametrize("number", ["00009", "100000"])
def test_a_shard_beyond_the_last_is_told(workspace, number):
    shown = workspace.snakemake(f"datasets/tiny/shard_{number}.h5", check=False)
    assert shown.returncode != 0
    assert "tiny has 2 shards, the last one is datasets/tiny/shard_00001.h5" in (
        shown.stdout + shown.stderr
    )


def test_a_shard_has_one_name(workspace):
    shown = workspace.snakemake("datasets/tiny/shard_000001.h5", check=False)
    assert "MissingRuleException" in shown.stdout + shown.stderr


def test_an_experiment_written_as_yml_is_found_out(workspace):
    other = workspace.path / "configs/vqvae/mine.yml"
    other.touch()
    shown = workspace.snakemake("results/mine/best_model.pt", check=False)
    other.unlink()
    assert "rename configs/vqvae/mine.yml" in shown.stdout + shown.stderr


@pytest.mark.parametrize("option", [("--config", "bits=3"), ("--configfile", "own.yaml")])
def test_settings_on_the_command_line_are_refused(workspace, option):
    (workspace.path / "own.yaml").write_text("bits: 3\n")
    shown = workspace.snakemake("--dry-run", *option, "--", "results/tiny/subset.h5", check=False)
    assert shown.returncode != 0
    said = shown.stdout + shown.stderr
    assert "--config and --configfile (bits) change nothing here" in said
    assert "configs/vqvae/<experiment>.yaml" in said


@pytest.mark.parametrize("name", ["lr0.01", "a.b-c.1", "1.x_"])
def test_a_name_may_hold_dots(workspace, own_experiment, name):
    own_experiment("mine.h5", name)
    workspace.snakemake(f"results/{name}/subset.h5")
    assert workspace.planned(f"results/{name}/report.html")["visualize"] == 1


@pytest.mark.parametrize("name", [".hidden", "-option", "two words", "a..b", "a."])
def test_a_name_that_cannot_be_made_is_not_said_to_be_known(workspace, own_experiment, name):
    own_experiment("mine.h5", name)
    refused = workspace.snakemake("--dry-run", "--", f"results/{name}/subset.h5", check=False)
    assert "No rule to produce" in refused.stdout + refused.stderr
    shown = workspace.snakemake("--dry-run", "results/tinny/subset.h5", check=False)
    assert "known: tiny, other\n" in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../outside", "MissingRuleException"),
        ("a/../../outside", "MissingRuleException"),
        ("{elsewhere}/outside", "known: other, tiny"),  # read as a folder below results/
    ],
)
def test_an_experiment_name_cannot_leave_the_results(workspace, name, told, tmp_path):
    settings = (workspace.path / "configs/vqvae/tiny.yaml").read_text()
    within = workspace.path / "configs/vqvae/a"
    within.mkdir(exist_ok=True)
    places = [workspace.path / "configs/outside.yaml", tmp_path / "outside.yaml"]
    for place in places:  # so that nothing but the name is wrong
        place.write_text(settings)
    name = name.format(elsewhere=tmp_path)
    assert (workspace.path / "configs/vqvae" / f"{name}.yaml").is_file()
    try:
        shown = workspace.snakemake("--dry-run", f"results/{name}/subset.h5", check=False)
    finally:
        places[0].unlink()
        within.rmdir()
    assert shown.returncode != 0
    assert told in shown.stdout + shown.stderr


def test_a_link_cannot_lead_out_of_the_results(workspace, tmp_path):
    link = workspace.path / "results/linked"
    link.symlink_to(tmp_path)
    config = workspace.path / "configs/vqvae/linked.yaml"
    config.write_text((workspace.path / "configs/vqvae/tiny.yaml").read_text())
    try:
        shown = workspace.snakemake("results/linked/subset.h5", check=False)
    finally:
        link.unlink()
        config.unlink()
    assert shown.returncode != 0
    assert "results/linked is a link to" in shown.stdout + shown.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_experiment_cannot_stand_in_a_folder_of_another(workspace):
    config = workspace.path / "configs/vqvae/tiny/figures.yaml"
    config.parent.mkdir()
    config.write_text((workspace.path / "configs/vqvae/tiny.yaml").read_text())
    try:
        shown = workspace.snakemake("results/tiny/figures/subset.h5", check=False)
    finally:
        config.unlink()
        config.parent.rmdir()
    assert shown.returncode != 0
    assert "which belongs to the experiment 'tiny'" in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    "name", ['it\'s "one" file.h5', "a$(touch PWNED)`touch PWNED`.h5", "a & touch PWNED; b #*.h5"]
)
def test_a_path_of_the_user_is_no_part_of_a_program(workspace, own_experiment, name):
    own_experiment(f"my data/{name}")
    workspace.snakemake("results/own/subset.h5")
    assert (workspace.path / "results/own/subset.h5").is_file()
    assert list(workspace.path.rglob("PWNED")) == []


def test_a_path_that_begins_with_a_dash_is_no_option(workspace, own_experiment):
    own_experiment("-my data.h5")
    workspace.snakemake("results/own/subset.h5")
    assert (workspace.path / "results/own/subset.h5").is_file()


def text_of_rules() -> str:
    files = (Path(__file__).parents[2] / "workflow/rules").glob("*.smk")
    return "".join(map(Path.read_text, files))


def test_every_rule_runs_and_tracks_the_code_of_the_stage_of_its_name():
    _, *parts = re.split(r"^rule (\w+):", text_of_rules(), flags=re.MULTILINE)
    assert len(parts) == 2 * 9
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        assert f'code=code("{name}"),' in text
        assert f"python -m spinlock.stages.{name} " in text


def test_every_path_in_a_command_is_quoted():
    commands = re.findall(r"(?<=    shell:\n)(?:        .*\n)+", text_of_rules())
    assert len(commands) >= 9
    bare = {name for one in commands for name in re.findall(r"\{([^{}:]+)\}", one)}
    # numbers, and options that are made of numbers
    assert bare == {"threads", "resources.gpu", "params.operators"}


def test_a_path_with_braces_is_refused_with_what_to_do(workspace, own_experiment):
    own_experiment("my{data}.h5")
    shown = workspace.snakemake("results/own/subset.h5", check=False)
    assert shown.returncode != 0
    said = shown.stdout + shown.stderr
    assert "takes what stands in braces for a wildcard" in said
    assert "where: my{data}.h5" in said


def test_an_experiment_does_not_write_over_its_own_mapping(workspace, own_experiment):
    own_experiment("mine.h5")
    config, own = workspace.path / "configs/vqvae/own.yaml", "results/own/categories.json"
    manual = f"category_assignment: manual\n  category_mapping_file: {own}\n  num_epochs"
    config.write_text(config.read_text().replace("num_epochs", manual))
    (workspace.path / own).parent.mkdir(parents=True)
    (workspace.path / own).write_text("{}")
    shown = workspace.snakemake("results/own/best_model.pt", check=False)
    assert shown.returncode != 0
    assert "writes over its own category_mapping_file" in shown.stdout + shown.stderr


@pytest.mark.parametrize("name", ["mine.h5", "my{data}.h5", "tiny2.h5"])
def test_a_file_of_ones_own_may_stand_among_the_generated_ones(workspace, own_experiment, name):
    own_experiment(f"datasets/{name}")
    whole = ("--forceall", "--dry-run", "datasets/tiny.h5")  # the rule is there for the others
    assert "concatenate" in workspace.snakemake(*whole).stdout
    if "{" in name:  # of no other experiment's concern
        return
    assert workspace.planned("--forceall", "results/own/subset.h5") == {"subset": 1}
    workspace.snakemake("results/own/subset.h5")


def test_a_file_in_place_of_a_generated_dataset_is_not_written_over(workspace, own_experiment):
    settings = workspace.path / "configs/datasets/mine.yaml"
    settings.write_text((workspace.path / "configs/datasets/tiny.yaml").read_text())
    own_experiment("datasets/mine.h5")
    try:
        assert workspace.planned("--forceall", "results/own/subset.h5") == {"subset": 1}
    finally:
        settings.unlink()


def test_a_missing_dataset_is_said_before_anything_runs(workspace, edited):
    edited("configs/vqvae/other.yaml", lambda text: text.replace("tiny.h5", "absent.h5"))
    shown = workspace.snakemake("results/other/subset.h5", check=False)
    assert shown.returncode != 0
    assert "the dataset does not exist" in shown.stdout + shown.stderr


def test_settings_without_effect_are_told_by_a_dry_run(workspace, edited):
    edited(
        "configs/vqvae/other.yaml",
        lambda text: text.replace("  num_epochs: 2", "  num_epochs: 2\n  warmup_epochs: 5"),
    )
    shown = workspace.snakemake("--dry-run", "results/other/best_model.pt")
    assert "other.yaml: training.learning_rate is never reached" in shown.stdout + shown.stderr
    assert "tiny.yaml:" not in shown.stdout + shown.stderr


def test_a_failed_stage_shows_its_message_and_leaves_nothing_half_written(workspace, edited):
    edited("configs/vqvae/other.yaml", lambda text: text.replace("  summary:", "  texture:"))
    shown = workspace.snakemake("results/other/subset.h5", check=False)
    text = shown.stdout + shown.stderr
    assert shown.returncode != 0
    assert "the dataset has no family texture" in text
    assert "families that are there: architecture, initial, summary, temporal" in text
    assert "Traceback" not in text.split("Logfile")[-1]
    assert not (workspace.path / "results/other/subset.h5").exists()
    workspace.snakemake("--cleanup-metadata", "results/other/subset.h5", check=False)


def test_a_whole_dataset_is_joined_from_its_shards(workspace):
    workspace.snakemake("datasets/tiny.h5")
    joined = workspace.path / "datasets/tiny.h5"
    with h5py.File(joined) as file:
        assert file["features/summary/aggregated/features"].shape == (90, 275)
    joined.unlink()
