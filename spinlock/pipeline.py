"""The stages in order, in one process: what `spinlock train-vqvae` does without Snakemake."""

import json
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
from rich.console import Console
from rich.progress import track

from spinlock.errors import SpinlockError
from spinlock.features.hdf5 import read_text
from spinlock.files import refusal_told, refuse_overwriting
from spinlock.settings import (
    Experiment,
    OperatorDatasetSettings,
    load_dataset_settings,
    simulation_settings,
)
from spinlock.settings.dataset_files import (
    Shard,
    dataset_config,
    dataset_files,
    generated_shards,
    shards,
)
from spinlock.stages import cluster, concatenate, generate, normalize, subset, train
from spinlock.stages.program import limit_threads

log = logging.getLogger(__name__)


def train_experiment(experiment: Experiment, output: Path, resume_from: Path | None = None) -> Path:
    """Train the tokenizer of an experiment, and return where the model is.

    Operators that are missing are simulated; everything else is written to `output`.
    """
    with refusal_told(output):
        output.mkdir(parents=True, exist_ok=True)
    table, statistics = output / "subset.h5", output / "feature_statistics.npz"
    categories, model = output / "categories.json", output / "best_model.pt"
    dataset = dataset_files(experiment)
    refuse_overwriting([table, statistics, categories, model], dataset)
    generate_missing(experiment)
    subset.run(experiment, dataset, table)
    normalize.run(experiment, table, statistics)
    cluster.run(
        experiment,
        table,
        statistics,
        categories,
        output / "silhouette.csv",
        output / "linkage.npz",
    )
    train.run(experiment, table, statistics, categories, model, resume_from)
    return model


def generate_missing(experiment: Experiment, workers: int | None = None) -> None:
    """Simulate the shards that an experiment needs and that are not there yet.

    Raises
    ------
    SpinlockError
        When a shard that is there was made with other settings.
    """
    expected = generated_shards(experiment)
    if not expected:
        return
    settings = _settings_of(experiment)
    for shard in expected:
        if shard.path.is_file():
            _require_same_simulation(shard.path, settings)
    _generate([s for s in expected if not s.path.is_file()], settings, workers)


def generate_dataset(config: Path, output: Path, workers: int | None = None) -> None:
    """Simulate a whole dataset into one file, shard by shard in parallel processes."""
    settings = load_dataset_settings(config)
    with _unfinished(output.parent) as folder:
        parts = [
            Shard(folder / shard.path.name, shard.first, shard.count)
            for shard in shards(config.stem, settings)
        ]
        _generate(parts, settings, workers)
        concatenate.run([part.path for part in parts], output)


def _generate(
    missing: Sequence[Shard], settings: OperatorDatasetSettings, workers: int | None
) -> None:
    if not missing:
        return
    log.info("simulating %d operators", sum(shard.count for shard in missing))
    processes = min(workers or len(os.sched_getaffinity(0)), len(missing))
    console = Console(stderr=True)
    with _unfinished(missing[0].path.parent) as folder, _workers(processes) as pool:
        jobs = {}
        for shard in missing:
            part = folder / shard.path.name
            job = pool.submit(generate.run, settings, part, shard.first, shard.count)
            jobs[job] = part, shard.path
        for job in track(
            as_completed(jobs),
            total=len(jobs),
            description="generate",
            console=console,
            disable=not console.is_terminal,
        ):
            job.result()
            part, path = jobs[job]
            part.replace(path)


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """Give a hidden folder inside another, for what is not finished: it goes with the block."""
    with refusal_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        inner = TemporaryDirectory(dir=folder, prefix=".unfinished.")
    with inner as name:
        yield Path(name)


@contextmanager
def _workers(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Give processes of one thread each, which end at once when the block fails."""
    others = set(active_children())
    # a forked process could inherit locked thread pools
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start_worker
    ) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise SpinlockError(
                "one of the simulating processes was ended, perhaps because memory ran out",
                remedy="simulate with fewer workers, or " + generate.LESS_MEMORY,
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(active_children()) - others:
                worker.terminate()
            raise


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes: the first decides
    limit_threads(1)


def _settings_of(experiment: Experiment) -> OperatorDatasetSettings:
    return load_dataset_settings(dataset_config(Path(experiment.dataset_path).stem))


def _require_same_simulation(path: Path, settings: OperatorDatasetSettings) -> None:
    try:
        with h5py.File(path, "r") as file:
            metadata = file["metadata"]
            text = read_text(lambda: metadata.attrs["config"], path, [metadata])
            made = dict(json.loads(text))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SpinlockError(
            f"this is not a shard of simulated operators ({error})",
            where=path,
            remedy="remove the file; it is then simulated",
        ) from error
    wanted = simulation_settings(settings)
    differing = [key for key in wanted if made.get(key) != wanted[key]]
    if differing:
        raise SpinlockError(
            f"this shard was simulated with another {', '.join(differing)}",
            where=path,
            remedy="remove the folder, or let Snakemake rerun what changed",
        )
