"""generate: simulate datasets of operators, shard by shard in parallel processes.

Reads a configuration of operators; writes an HDF5 file of all, or the shards that an experiment
lacks.
"""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path

from spinlock.commands.unfinished import told_of_place, unfinished_folder
from spinlock.errors import SpinlockError
from spinlock.files import refuse_replacing, require_suffix
from spinlock.operators.dataset_files import Shard, dataset_config, is_simulated_file, shards
from spinlock.operators.simulated_files import require_simulation
from spinlock.program import limit_threads, usable_cores
from spinlock.progress import progress_bar
from spinlock.settings import Experiment, OperatorDatasetSettings, load_dataset_settings
from spinlock.stages import concatenate, generate
from spinlock.termination import end_with_parent

log = logging.getLogger(__name__)


def run(config: Path, output: Path, workers: int | None = None) -> None:
    """Simulate a whole dataset into one file, shard by shard in parallel processes."""
    settings = load_dataset_settings(config)
    if os.path.isdir(output):  # noqa: PTH112 - pathlib raises for names that are too long
        raise SpinlockError(
            "the file to write is a folder", where=output, remedy="name a file, like dataset.h5"
        )
    require_suffix(output, ".h5", ".hdf5")
    refuse_replacing(output, is_simulated_file)
    with unfinished_folder(output.parent) as folder:
        parts = [
            Shard(folder / shard.path.name, shard.first, shard.count)
            for shard in shards(config.stem, settings)
        ]
        with told_of_place(folder, output):
            _generate(parts, settings, workers)
            concatenate.run([part.path for part in parts], output)


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


def _generate(
    missing: Sequence[Shard], settings: OperatorDatasetSettings, workers: int | None
) -> None:
    if not missing:
        return
    log.info("simulating %d operators", sum(shard.count for shard in missing))
    processes = min(workers or usable_cores(), len(missing))
    with (
        unfinished_folder(missing[0].path.parent) as folder,
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
