"""The stages in order, in one process: what `spinlock train-vqvae` does without Snakemake."""

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

from spinlock.errors import SpinlockError
from spinlock.files import refusal_told, refuse_replacing, require_suffix, sole_writer
from spinlock.operators.dataset_files import (
    Shard,
    dataset_config,
    dataset_files,
    is_simulated_file,
    shards,
)
from spinlock.operators.simulated_files import require_simulation
from spinlock.preconditions import describe_data, note_config, require_inputs_apart, require_start
from spinlock.settings import (
    Experiment,
    OperatorDatasetSettings,
    load_dataset_settings,
)
from spinlock.stages import cluster, concatenate, generate, normalize, subset, train
from spinlock.stages.program import limit_threads, usable_cores
from spinlock.stages.progress import progress_bar
from spinlock.stages.training_files import training_inputs
from spinlock.termination import end_with_parent

log = logging.getLogger(__name__)


def train_experiment(
    experiment: Experiment,
    output: Path,
    resume_from: Path | None = None,
    config: Path | None = None,
) -> Path:
    """Train the tokenizer of an experiment, and return where the model is.

    Operators that are missing are simulated; everything else is written to `output`, with a note
    of `config`, the file that the settings were read from.
    """
    require_inputs_apart(experiment, output, config)
    dataset = dataset_files(experiment)
    require_start(experiment, (), resume_from)
    describe_data(experiment)
    inputs, model = training_inputs(output), output / "best_model.pt"
    with sole_writer(output):
        generate_missing(experiment)
        require_start(experiment, dataset, resume_from)
        # what fails, or does not fit the checkpoint, must not stand beside the model that is there
        with _unfinished(output) as folder, _told_of_place(folder, output):
            _prepare(experiment, dataset, folder)
            train.require_inputs(experiment, training_inputs(folder), resume_from)
            for made in sorted(folder.iterdir()):
                made.replace(output / made.name)
        train.run(experiment, *inputs, model, resume_from)
        if config is not None:
            note_config(output, config)
    return model


def _prepare(experiment: Experiment, dataset: Sequence[Path], folder: Path) -> None:
    """Write what a model is made from into a folder."""
    inputs = training_inputs(folder)
    subset.run(experiment, dataset, inputs[0])
    normalize.run(experiment, *inputs[:2])
    cluster.run(experiment, *inputs, folder / "silhouette.csv", folder / "linkage.npz")


def generate_missing(experiment: Experiment, workers: int | None = None) -> None:
    """Simulate the shards that an experiment needs and that are not there yet.

    Raises
    ------
    SpinlockError
        When a shard that is there holds other operators.
    """
    expected = require_simulation(experiment)
    missing = [shard for shard in expected if not shard.path.is_file()]
    if missing:
        config = dataset_config(Path(experiment.dataset_path).stem)
        _generate(missing, load_dataset_settings(config), workers)


def generate_dataset(config: Path, output: Path, workers: int | None = None) -> None:
    """Simulate a whole dataset into one file, shard by shard in parallel processes."""
    settings = load_dataset_settings(config)
    if os.path.isdir(output):  # noqa: PTH112 - pathlib raises for names that are too long
        raise SpinlockError(
            "the file to write is a folder", where=output, remedy="name a file, like dataset.h5"
        )
    require_suffix(output, ".h5", ".hdf5")
    refuse_replacing(output, is_simulated_file)
    with _unfinished(output.parent) as folder:
        parts = [
            Shard(folder / shard.path.name, shard.first, shard.count)
            for shard in shards(config.stem, settings)
        ]
        with _told_of_place(folder, output):
            _generate(parts, settings, workers)
            concatenate.run([part.path for part in parts], output)


def _generate(
    missing: Sequence[Shard], settings: OperatorDatasetSettings, workers: int | None
) -> None:
    if not missing:
        return
    log.info("simulating %d operators", sum(shard.count for shard in missing))
    processes = min(workers or usable_cores(), len(missing))
    with (
        _unfinished(missing[0].path.parent) as folder,
        _workers(processes) as pool,
        progress_bar() as progress,
    ):
        jobs = {}
        for shard in missing:
            part = folder / shard.path.name
            job = pool.submit(
                generate.run, settings, part, shard.first, shard.count, progress=False
            )
            jobs[job] = part, shard.path
        for job in progress.track(as_completed(jobs), len(jobs), description="generate"):
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
def _told_of_place(folder: Path, place: Path) -> Iterator[None]:
    """Let what goes wrong in a folder that will be gone when it is told be told of a place."""
    try:
        yield
    except SpinlockError as error:
        inner = isinstance(error.where, Path) and error.where.is_relative_to(folder)
        error.where = place if inner else error.where
        raise


@contextmanager
def _workers(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Give processes of one thread each, which end at once when the block fails."""
    others = set(active_children())
    # a forked process could inherit locked thread pools
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=_start_worker, initargs=(os.getpid(),)
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


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes: the first decides
    limit_threads(1)
    end_with_parent(parent)
