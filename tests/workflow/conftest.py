"""A copy of the workflow with a tiny experiment, run once from simulation to report."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("Snakefile", "workflow", "profiles", "spinlock", "envs")
DATASET = """\
num_operators: 90
shard_size: 45
grid_size: 8
channels: 1
steps: 8
realizations: 2
max_width: 4
max_depth: 1
"""
EXPERIMENT = """\
dataset_path: datasets/tiny.h5
max_samples: 80
families:
  architecture: {encoder: MLPEncoder, encoder_params: {hidden_dims: [4], output_dim: 4}}
  summary: {encoder: MLPEncoder, encoder_params: {hidden_dims: [4], output_dim: 4}}
model: {group_hidden_dim: 4, bits: 24}
training:
  batch_size: 32
  learning_rate: 0.001
  num_epochs: 2
  num_categories_auto: 4
  max_clusters: 6
  val_every_n_epochs: 1
  use_torch_compile: false
  checkpoint_dir: checkpoints
visualization: {projection: tsne}
logging: {verbose: false}
"""
RULES_AFTER_SUBSET = ("normalize", "cluster", "train", "evaluate", "encode", "visualize")
STAT = re.compile(r"^(generate|subset|normalize|cluster|train|evaluate|encode|visualize) +(\d+)$")


@dataclass(frozen=True)
class Workspace:
    """A checkout of its own."""

    path: Path

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Python with this checkout's package."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=os.environ | {"PYTHONPATH": str(self.path), "PYTHONWARNINGS": "default"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake on two cores."""
        return self.run("-m", "snakemake", "--cores", "2", *arguments, check=check)

    def planned(self, *targets: str) -> dict[str, int]:
        """Return the rules that a dry run would run, and how often."""
        shown = self.snakemake("--dry-run", *targets)
        found = [STAT.match(line.strip()) for line in (shown.stdout + shown.stderr).splitlines()]
        return {match[1]: int(match[2]) for match in found if match}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Give the finished tiny experiment, and what `other`, its twin, needs up to its categories."""
    place = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place / name)
    (place / "configs/datasets").mkdir(parents=True)
    (place / "configs/vqvae").mkdir()
    (place / "configs/datasets/tiny.yaml").write_text(DATASET)
    for name in ("tiny", "other"):
        (place / f"configs/vqvae/{name}.yaml").write_text(EXPERIMENT)
    made = Workspace(place)
    made.snakemake(*targets("tiny"), "results/other/categories.json")
    yield made
    shutil.rmtree(place)


def targets(experiment: str) -> list[str]:
    """Return the files that take every rule of an experiment."""
    files = ("best_model.pt", "metrics.json", "tokens.h5", "report.html")
    return [f"results/{experiment}/{name}" for name in files]


@pytest.fixture
def edited(workspace: Workspace) -> Iterator[Callable[[str, Callable[[str], str]], None]]:
    """Give a function that edits a file of the checkout until the test ends."""
    before: dict[Path, str] = {}

    def edit(name: str, change: Callable[[str], str]) -> None:
        path = workspace.path / name
        text = path.read_text()
        before.setdefault(path, text)
        assert change(text) != text, "the edit changes nothing"
        path.write_text(change(text))

    yield edit
    for path, text in before.items():
        path.write_text(text)


@pytest.fixture
def own_experiment(workspace: Workspace) -> Iterator[Callable[..., None]]:
    """Give a function that makes an experiment on a file of one's own, until the test ends."""
    made: list[Path] = []

    def make(dataset: str, name: str = "own") -> None:
        file = workspace.path / dataset
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((workspace.path / "datasets/tiny/shard_00000.h5").read_bytes())
        config = workspace.path / f"configs/vqvae/{name}.yaml"
        text = (workspace.path / "configs/vqvae/tiny.yaml").read_text()
        text = text.replace("max_samples: 80", "max_samples: 40")
        config.write_text(text.replace("datasets/tiny.h5", json.dumps(dataset)))
        made.extend((file, config))

    yield make
    for path in made:
        path.unlink()
        shutil.rmtree(workspace.path / "results" / path.stem, ignore_errors=True)
