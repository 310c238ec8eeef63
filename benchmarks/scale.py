"""Time per row and peak memory of the stages as rows grow, and rows encoded per second."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import yaml

from benchmarks.data import made_up_features
from benchmarks.measurement import Result, Settings
from spinlock.features.operator_file import OperatorFileWriter
from spinlock.files import atomic_path

ARCHITECTURE, SUMMARY, STEPS, CHANNELS = 21, 275, 64, 63
DESCRIPTION = f"{ARCHITECTURE} + {SUMMARY} + {STEPS} × {CHANNELS} features"
ROW_BLOCK = 1000
MEMORY_GOAL = 2.0  # GiB
STREAMED = ("subset", "normalize", "encode")  # stages whose time per row must not grow
GIB = 2**30


@dataclass(frozen=True)
class Run:
    """What a stage took."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


def write_dataset(path: Path, n_rows: int) -> None:
    """Write made-up operators in the HDF5 layout, block by block."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        writer = OperatorFileWriter(file, n_rows, {"made_up": True})
        for first in range(0, n_rows, ROW_BLOCK):
            writer.write(first, _block(first, min(ROW_BLOCK, n_rows - first)))


def _block(first: int, count: int) -> dict[str, np.ndarray]:
    plain = made_up_features(count, ARCHITECTURE + SUMMARY, seed=first)
    steps = np.linspace(0, 1, STEPS, dtype=np.float32)
    # smooth curves, each a wave whose amplitude and frequency are features of the row
    curves = plain[:, None, :CHANNELS] * np.sin(
        (1 + 8 * np.abs(plain[:, None, -CHANNELS:])) * steps[None, :, None]
    )
    return {
        "features/architecture/aggregated/features": plain[:, :ARCHITECTURE],
        "features/summary/aggregated/features": plain[:, ARCHITECTURE:],
        "features/temporal/features": curves,
    }


def experiment(dataset: Path, families: Mapping[str, str]) -> dict[str, object]:
    """Return the default settings, but for a single epoch: how long and large, not how good."""
    return {
        "dataset_path": str(dataset),
        "families": {name: {"encoder": encoder} for name, encoder in families.items()},
        "training": {"num_epochs": 1, "use_torch_compile": False},
        "device": "cpu",
    }


ALL_FAMILIES = {
    "architecture": "MLPEncoder",
    "summary": "MLPEncoder",
    "temporal": "MLPEncoder",
}


class Pipeline:
    """The stages of one experiment, each run as a program."""

    def __init__(self, folder: Path, dataset: Path, families: Mapping[str, str], threads: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dataset, self.threads = folder, dataset, threads
        self.config = folder / "experiment.yaml"
        self.config.write_text(yaml.safe_dump(experiment(dataset, families)), encoding="utf-8")

    def path(self, name: str) -> str:
        """Return the path of a result."""
        return str(self.folder / name)

    def run(self, stage: str, model: str | None = None) -> Run:
        """Run a stage; `encode` reads the model of this pipeline or another's."""
        fitted = ["--subset", self.path("subset.h5")]
        statistics = ["--statistics", self.path("feature_statistics.npz")]
        categories = ["--categories", self.path("categories.json")]
        model = model or self.path("best_model.pt")
        clustered = [
            *("--silhouette", self.path("silhouette.csv")),
            *("--linkage", self.path("linkage.npz")),
        ]
        measured = [
            *("--metrics", self.path("metrics.json")),
            *("--baselines", self.path("baselines.csv")),
        ]
        arguments = {
            "subset": ["--dataset", str(self.dataset), "--output", self.path("subset.h5")],
            "normalize": [*fitted, "--output", self.path("feature_statistics.npz")],
            "cluster": [*fitted, *statistics, *categories, *clustered],
            "train": [*fitted, *statistics, *categories, "--output", self.path("best_model.pt")],
            "encode": [
                *("--model", model, "--dataset", str(self.dataset)),
                *("--tokens", self.path("tokens.h5"), "--parquet", self.path("tokens.parquet")),
            ],
            "evaluate": ["--model", model, *fitted, *measured],
            "visualize": [
                *("--model", model, "--tokens", self.path("tokens.h5")),
                *fitted,
                *clustered,
                *measured,
                *("--figures", self.path("figures"), "--report", self.path("report.html")),
            ],
        }[stage]
        return self._program(stage, arguments)

    def _program(self, stage: str, arguments: list[str]) -> Run:
        command = [sys.executable, "-m", "benchmarks.peak_memory", f"spinlock.stages.{stage}"]
        common = ["--config", str(self.config), "--threads", str(self.threads)]
        done = subprocess.run(
            [*command, *common, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the stage {stage} failed:\n{done.stderr}")
        return Run(**json.loads(done.stdout.splitlines()[-1]))


def measure(settings: Settings) -> dict[str, Result]:
    """Run the stages on made-up datasets of growing size."""
    sizes = (60, 120, 180) if settings.quick else (1_000, 10_000, 100_000)
    families = {"architecture": "MLPEncoder"} if settings.quick else ALL_FAMILIES
    runs: dict[int, dict[str, Run]] = {}
    with TemporaryDirectory() as folder:
        for n_rows in sizes:
            dataset = Path(folder) / f"{n_rows}.h5"
            write_dataset(dataset, n_rows)
            pipeline = Pipeline(Path(folder) / str(n_rows), dataset, families, settings.threads)
            smallest = Path(folder) / str(sizes[0]) / "best_model.pt"
            runs[n_rows] = _run_stages(pipeline, n_rows, sizes, smallest)
            dataset.unlink()
    return _growth(runs, sizes) | _memory(runs[sizes[-1]], sizes[-1])


def _run_stages(
    pipeline: Pipeline, n_rows: int, sizes: tuple[int, ...], smallest: Path
) -> dict[str, Run]:
    """Run every stage at the largest size, what must not grow at all; encode with one model."""
    trained = n_rows in (sizes[0], sizes[-1])
    stages = ("subset", "normalize", *(("cluster", "train") if trained else ()))
    runs = {stage: pipeline.run(stage) for stage in stages}
    runs["encode"] = pipeline.run("encode", str(smallest))
    if n_rows == sizes[-1]:
        runs["evaluate"] = pipeline.run("evaluate")
        own = pipeline.run("encode")  # the report is of the tokens of its own model
        largest = max(own.peak_bytes, runs["encode"].peak_bytes)
        runs["encode"] = replace(runs["encode"], peak_bytes=largest)
        runs["visualize"] = pipeline.run("visualize")
    return runs


def _growth(runs: Mapping[int, Mapping[str, Run]], sizes: tuple[int, ...]) -> dict[str, Result]:
    """Compare the time per row of the largest dataset with that of each smaller one.

    In processor time, which neighbours on the machine hardly change; whole, and of the rows
    alone: what each row adds between two sizes is free of what a stage does once.
    """
    *smaller, largest = sizes
    seconds = {
        stage: {n_rows: runs[n_rows][stage].processor_seconds for n_rows in sizes}
        for stage in STREAMED
    }
    plain = {
        f"scale_{stage}_{largest}_vs_{n_rows}": Result(
            of[largest] / largest * 1e6,
            of[n_rows] / n_rows * 1e6,
            "µs/row",
            f"processor time of stage {stage}, imports left out, {largest} rows of {DESCRIPTION}; "
            f"reference: {n_rows} rows",
        )
        for stage, of in seconds.items()
        for n_rows in smaller
    }
    first, *_, last = pairwise(sizes)
    added = {
        f"scale_{stage}_added_rows": Result(
            _added(of, *last),
            _added(of, *first),
            "µs/row",
            f"processor time that a row adds to stage {stage}, from {last[0]} to {last[1]} "
            f"rows of {DESCRIPTION}; reference: from {first[0]} to {first[1]} rows",
        )
        for stage, of in seconds.items()
    }
    return plain | added


def _added(seconds: Mapping[int, float], fewer: int, more: int) -> float:
    """Return the microseconds of each row that the larger size has more."""
    return (seconds[more] - seconds[fewer]) / (more - fewer) * 1e6


def _memory(runs: Mapping[str, Run], n_rows: int) -> dict[str, Result]:
    return {
        f"memory_{stage}": Result(
            run.peak_bytes / GIB,
            MEMORY_GOAL,
            "GiB",
            f"peak resident memory of stage {stage} at {n_rows} rows of {DESCRIPTION}, in "
            f"{run.seconds:.0f} s; reference: the goal",
        )
        for stage, run in runs.items()
    }
