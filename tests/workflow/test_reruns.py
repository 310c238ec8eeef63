"""What must rerun when something changes, and nothing more: the table of the workflow's design."""

import json
import os

import h5py
import pytest

ALL_FAMILIES = "  initial: {encoder: MLPEncoder, encoder_params: {hidden_dims: [4]}}\n  summary:"
TRAIN_ON = ("train", "evaluate", "encode", "visualize")
CLUSTER_ON = ("cluster", *TRAIN_ON)
NORMALIZE_ON = ("normalize", *CLUSTER_ON)
SUBSET_ON = ("subset", *NORMALIZE_ON)
FILES = ("best_model.pt", "metrics.json", "tokens.h5", "report.html")
CONFIG = "configs/vqvae/tiny.yaml"


def replaced(old, new):
    return lambda text: text.replace(old, new, 1)


def keys_in_another_order(text):
    head, families = text.split("families:\n")[0], text.split("families:\n")[1]
    architecture, summary, rest = families.split("\n", 2)
    return f"{rest}families:\n{summary}\n{architecture}\n{head}"


def one_name_more(text):
    return f"{text}\nUNUSED = 1\n"


CASES = {
    "a comment in the YAML": (CONFIG, lambda text: f"# why\n{text}", ()),
    "the order of keys": (CONFIG, keys_in_another_order, ()),
    "logging": (CONFIG, replaced("verbose: false", "verbose: true, log_interval: 7"), ()),
    "device": (CONFIG, lambda text: f"{text}device: cpu\n", ()),
    "use_torch_compile": (CONFIG, replaced("use_torch_compile: false", ""), ()),
    "checkpoint_dir": (CONFIG, replaced("checkpoint_dir: checkpoints", ""), ()),
    "learning_rate": (CONFIG, replaced("learning_rate: 0.001", "learning_rate: 0.002"), TRAIN_ON),
    "model": (CONFIG, replaced("bits: 24", "bits: 25"), TRAIN_ON),
    "an encoder's parameter": (CONFIG, replaced("output_dim: 4", "output_dim: 5"), TRAIN_ON),
    "max_clusters": (CONFIG, replaced("max_clusters: 6", "max_clusters: 7"), CLUSTER_ON),
    "num_categories_auto": (CONFIG, replaced("auto: 4", "auto: 3"), CLUSTER_ON),
    "normalization_method": (
        CONFIG,
        lambda text: f"{text}normalization_method: mad\n",
        NORMALIZE_ON,
    ),
    "max_samples": (CONFIG, replaced("max_samples: 80", "max_samples: 79"), SUBSET_ON),
    "a family added": (CONFIG, replaced("  summary:", ALL_FAMILIES), SUBSET_ON),
    "evaluation": (
        CONFIG,
        lambda text: f"{text}evaluation: {{max_pair_rows: 50}}\n",
        ("evaluate", "visualize"),
    ),
    "visualization": (
        CONFIG,
        replaced("projection: tsne", "projection: tsne, max_points: 50"),
        ("visualize",),
    ),
    "split": (CONFIG, lambda text: f"{text}split: {{val_fraction: 0.2}}\n", SUBSET_ON),
    "random_seed": (CONFIG, lambda text: f"{text}random_seed: 7\n", SUBSET_ON),
    "save_every": (CONFIG, replaced("num_epochs: 2", "num_epochs: 2\n  save_every: 1"), TRAIN_ON),
    "a figure's colour": (
        "spinlock/analysis/figures/style.py",
        replaced("#0072B2", "#0072B3"),
        ("visualize",),
    ),
    "code that train imports": (
        "spinlock/training/schedule.py",
        one_name_more,
        TRAIN_ON,
    ),
    "code that subset imports": ("spinlock/features/columns.py", one_name_more, SUBSET_ON),
    "code that normalize imports": (
        "spinlock/tokenizer/normalization/fitting.py",
        one_name_more,
        NORMALIZE_ON,
    ),
    "code that evaluate and encode import": (
        "spinlock/tokenizer/tokenizer.py",
        one_name_more,
        ("evaluate", "encode", "visualize"),
    ),
    "a comment in code": (
        "spinlock/training/schedule.py",
        lambda text: f"{text}\n# a remark\n",
        (),
    ),
    "a docstring": (
        "spinlock/training/schedule.py",
        replaced('"""', '"""Once more: '),
        (),
    ),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_what_a_change_reruns(workspace, edited, case):
    file, change, expected = CASES[case]
    edited(file, change)
    planned = workspace.planned(*(f"results/tiny/{name}" for name in FILES))
    assert planned == dict.fromkeys(expected, 1)


def test_a_second_run_does_nothing(workspace):
    shown = workspace.snakemake(*(f"results/tiny/{name}" for name in FILES))
    assert "Nothing to be done" in shown.stdout + shown.stderr


def test_one_experiments_config_reruns_that_experiment_only(workspace, edited):
    edited("configs/vqvae/other.yaml", replaced("auto: 4", "auto: 3"))
    files = [f"results/tiny/{name}" for name in FILES]
    assert workspace.planned(*files, "results/other/categories.json") == {"cluster": 1}


def test_another_mapping_of_categories_reruns_the_clustering(workspace, edited):
    mapping = workspace.path / "mapping.json"
    found = json.loads((workspace.path / "results/other/categories.json").read_text())
    manual = f"category_assignment: manual\n  category_mapping_file: {mapping.name}\n  num_epochs"
    edited("configs/vqvae/other.yaml", replaced("num_epochs", manual))
    mapping.write_text(json.dumps(found))
    workspace.snakemake("results/other/categories.json")
    assert workspace.planned("results/other/categories.json") == {}
    mapping.write_text(json.dumps({f"my_{name}": members for name, members in found.items()}))
    assert workspace.planned("results/other/categories.json") == {"cluster": 1}
    os.utime(mapping, (0, 0))  # also when the other file is an older one
    assert workspace.planned("results/other/categories.json") == {"cluster": 1}


def test_a_broken_config_does_not_block_another_experiment(workspace, edited):
    edited("configs/vqvae/other.yaml", lambda text: f"{text}nonsense: [\n")
    assert workspace.planned(*(f"results/tiny/{name}" for name in FILES)) == {}


def test_broken_code_blocks_only_the_stages_that_run_it(workspace, edited):
    edited("spinlock/analysis/figures/style.py", lambda text: f"{text}\n(")
    assert workspace.planned("results/tiny/best_model.pt") == {}
    shown = workspace.snakemake("--dry-run", "results/tiny/report.html", check=False)
    assert shown.returncode != 0
    assert "spinlock/analysis/figures/style.py" in shown.stdout + shown.stderr


def test_the_simulation_settings_of_a_dataset_rerun_everything(workspace, edited):
    edited("configs/datasets/tiny.yaml", replaced("steps: 8", "steps: 9"))
    planned = workspace.planned(*(f"results/tiny/{name}" for name in FILES))
    assert planned == dict.fromkeys(SUBSET_ON, 1) | {"generate": 2}


def test_larger_shards_are_simulated_anew(workspace, edited):
    edited("configs/datasets/tiny.yaml", replaced("shard_size: 45", "shard_size: 90"))
    planned = workspace.planned(*(f"results/tiny/{name}" for name in FILES))
    assert planned == dict.fromkeys(SUBSET_ON, 1) | {"generate": 1}


def test_more_operators_rerun_no_simulation_that_is_there(workspace, edited):
    edited("configs/datasets/tiny.yaml", replaced("num_operators: 90", "num_operators: 135"))
    edited("configs/vqvae/tiny.yaml", replaced("max_samples: 80", "max_samples: 100"))
    planned = workspace.planned(*(f"results/tiny/{name}" for name in FILES))
    assert planned == dict.fromkeys(SUBSET_ON, 1) | {"generate": 1}


def test_new_content_of_the_dataset_reruns_everything_from_subset(workspace):
    shard = workspace.path / "datasets/tiny/shard_00000.h5"
    before, bytes_before = shard.stat(), shard.read_bytes()
    try:
        shard.write_bytes(bytes_before + b"\0")
        planned = workspace.planned(*(f"results/tiny/{name}" for name in FILES))
    finally:
        shard.write_bytes(bytes_before)
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert planned == dict.fromkeys(SUBSET_ON, 1)


def test_another_spelling_of_a_path_reruns_nothing(workspace, own_experiment, edited):
    own_experiment("mydata/plain.h5")
    workspace.snakemake("results/own/subset.h5")
    edited("configs/vqvae/own.yaml", replaced('"mydata/plain.h5"', "./mydata//plain.h5"))
    assert workspace.planned("results/own/subset.h5") == {}


def test_a_dataset_that_is_replaced_by_an_older_file_reruns_and_one_that_is_touched_does_not(
    workspace, own_experiment
):
    own_experiment("mydata/plain.h5")
    workspace.snakemake("results/own/subset.h5")
    data = workspace.path / "mydata/plain.h5"
    data.touch()
    assert workspace.planned("results/own/subset.h5") == {}
    data.write_bytes((workspace.path / "datasets/tiny/shard_00001.h5").read_bytes())
    os.utime(data, (0, 0))
    assert workspace.planned("results/own/subset.h5") == {"subset": 1}


def test_operators_of_an_older_configuration_are_not_taken(workspace, own_experiment, edited):
    config = workspace.path / "configs/datasets/single.yaml"
    tiny = (workspace.path / "configs/datasets/tiny.yaml").read_text()
    config.write_text(tiny.replace("num_operators: 90", "num_operators: 45"))
    own_experiment("datasets/single.h5")  # what `spinlock generate` wrote
    try:
        workspace.snakemake("results/own/subset.h5")
        edited("configs/datasets/single.yaml", replaced("steps: 8", "steps: 9"))
        assert workspace.planned("results/own/subset.h5") == {"subset": 1}
        assert workspace.snakemake("results/own/subset.h5", check=False).returncode != 0
        said = (workspace.path / "results/own/logs/subset.log").read_text()
    finally:
        config.unlink()
    assert "simulated with another steps" in said


def test_a_file_that_a_dataset_links_to_counts_as_its_content(workspace, own_experiment, edited):
    own_experiment("mydata/linked.h5")
    link, target = workspace.path / "mydata/linked.h5", workspace.path / "mydata/target.h5"
    link.rename(target)
    with h5py.File(link, "w") as file:
        for name in ("features", "metadata"):
            file[name] = h5py.ExternalLink("target.h5", name)
    edited("configs/vqvae/own.yaml", lambda text: f"{text}allow_external_data: true\n")
    workspace.snakemake("results/own/subset.h5")
    assert workspace.planned("results/own/subset.h5") == {}
    target.write_bytes((workspace.path / "datasets/tiny/shard_00001.h5").read_bytes())
    assert workspace.planned("results/own/subset.h5") == {"subset": 1}
    target.unlink()
