"""A finished small experiment, and stages that are run and stopped in forks."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import h5py
import numpy as np
import pytest
import yaml

ZYGOTE = Path(__file__).with_name("zygote.py")
LAYER = Path(__file__).with_name("faulty_files.c")
PLACES = {
    "generate": ["operators.h5"],
    "concatenate": ["joined.h5"],
    "subset": ["subset.h5"],
    "normalize": ["feature_statistics.npz"],
    "cluster": ["categories.json", "silhouette.csv", "linkage.npz"],
    "train": [
        "best_model.pt", "normalization_stats.npz", "training_history.json", "config.yaml",
    ],
    "evaluate": ["metrics.json", "baselines.csv"],
    "encode": ["tokens.h5", "tokens.parquet"],
    "decode": ["decoded.csv"],
    "visualize": ["report.html"],
}  # fmt: skip
WITHOUT_EXPERIMENT = ("generate", "concatenate", "decode")
SETTINGS = {
    "families": {"summary": {"encoder": "MLPEncoder", "encoder_params": {"hidden_dims": [8]}}},
    "model": {"bits": 18, "group_hidden_dim": 8, "group_embedding_dim": 4},
    "training": {
        "batch_size": 64, "num_epochs": 5, "learning_rate": 0.01, "num_categories_auto": 3,
        "val_every_n_epochs": 1, "use_torch_compile": False, "save_every": 2,
    },
    "evaluation": {"baselines": False},  # which would take most of the time
    "visualization": {"projection": "tsne", "max_points": 40},
    "device": "cpu",
}  # fmt: skip
OPERATORS = {
    "num_operators": 60, "grid_size": 8, "channels": 1, "steps": 8, "max_depth": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: exit status (negative: killed), messages, and how long it took."""

    status: int
    messages: str
    seconds: float


class Laboratory:
    """Runs stages of one experiment in folders of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.layer = self._compile_layer()
        preloaded = {"LD_PRELOAD": str(self.layer)} if self.layer else {}
        self._process = subprocess.Popen(
            [sys.executable, ZYGOTE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"} | preloaded,
        )
        self.reference = folder / "results"

    def _compile_layer(self) -> Path | None:
        """Return the library that lets files fail, None where there is no C compiler."""
        compiler, library = shutil.which("cc"), self.folder / "faulty_files.so"
        if compiler is None:
            return None
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, LAYER, "-ldl"], check=True)
        return library

    def close(self) -> None:
        """End the process that runs the stages."""
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def run(self, stage: str, out: Path, **limits: object) -> Outcome:
        """Run a stage on the finished files, writing to another folder."""
        request = {"stage": stage, "argv": self.arguments(stage, out)}
        self._process.stdin.write(json.dumps(request | limits) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Outcome(**answer)

    def arguments(self, stage: str, out: Path) -> list[str]:
        """Return a stage's options: what it reads from the reference, what it writes to `out`."""
        ready, written = self.reference, out
        config, dataset = self.folder / "experiment.yaml", self.folder / "dataset.h5"
        files = {
            "generate": [
                "--config", self.folder / "operators.yaml", "--output", written / "operators.h5",
            ],
            "concatenate": ["--shards", ready / "operators.h5", "--output", written / "joined.h5"],
            "subset": ["--dataset", dataset, "--output", written / "subset.h5"],
            "normalize": [
                "--subset", ready / "subset.h5", "--output", written / "feature_statistics.npz",
            ],
            "cluster": [
                "--subset", ready / "subset.h5", "--statistics", ready / "feature_statistics.npz",
                "--categories", written / "categories.json", "--silhouette",
                written / "silhouette.csv", "--linkage", written / "linkage.npz",
            ],
            "train": [
                "--subset", ready / "subset.h5", "--statistics", ready / "feature_statistics.npz",
                "--categories", ready / "categories.json", "--output", written / "best_model.pt",
            ],
            "evaluate": [
                "--model", ready / "best_model.pt", "--subset", ready / "subset.h5",
                "--metrics", written / "metrics.json", "--baselines", written / "baselines.csv",
            ],
            "encode": [
                "--model", ready / "best_model.pt", "--dataset", dataset, "--subset",
                ready / "subset.h5", "--tokens", written / "tokens.h5",
                "--parquet", written / "tokens.parquet",
            ],
            "decode": [
                "--model", ready / "best_model.pt", ready / "tokens.h5",
                "--output", written / "decoded.csv",
            ],
            "visualize": [
                "--model", ready / "best_model.pt", "--subset", ready / "subset.h5",
                "--silhouette", ready / "silhouette.csv", "--linkage", ready / "linkage.npz",
                "--metrics", ready / "metrics.json", "--baselines", ready / "baselines.csv",
                "--tokens", ready / "tokens.h5", "--figures", written / "figures",
                "--report", written / "report.html",
            ],
        }[stage]  # fmt: skip
        experiment = [] if stage in WITHOUT_EXPERIMENT else ["--config", config]
        return [str(one) for one in (*experiment, *files)]

    def digests(self, stage: str, out: Path) -> dict[str, str]:
        """Return the digests of the outputs of a stage that are there."""
        names = list(PLACES[stage])
        if stage == "visualize":
            names += [f"figures/{path.name}" for path in (out / "figures").glob("[!.]*")]
        return {
            name: hashlib.sha256((out / name).read_bytes()).hexdigest()
            for name in names
            if (out / name).is_file()
        }


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    folder = Path(mkdtemp(prefix="spinlock-faults-"))
    folder.chmod(0o755)  # read by a process without privileges
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(120, 3))
    values = np.repeat(causes, 3, axis=1) + 0.3 * rng.normal(size=(120, 9))
    with h5py.File(folder / "dataset.h5", "w") as file:
        file["features/summary/aggregated/features"] = values.astype(np.float32)
    settings = SETTINGS | {"dataset_path": str(folder / "dataset.h5")}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(settings))
    (folder / "operators.yaml").write_text(yaml.safe_dump(OPERATORS))
    made = Laboratory(folder)
    for stage in PLACES:
        if stage == "visualize":
            continue  # which takes longer than all the others
        outcome = made.run(stage, made.reference)
        assert outcome.status == 0, outcome.messages
    yield made
    made.close()
    shutil.rmtree(folder)
