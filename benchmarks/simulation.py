"""Operators simulated and described per second, beside the plain program."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measurement import Result, Settings, compared, interleaved
from benchmarks.plain_simulation import plain_records
from spinlock.operators.design import DesignSpace
from spinlock.operators.simulation import SimulationPlan
from spinlock.program import limit_threads
from spinlock.settings import OperatorDatasetSettings, load_dataset_settings
from spinlock.stages import generate

SETTINGS = OperatorDatasetSettings(
    num_operators=1000, grid_size=32, channels=3, steps=64, realizations=3, max_width=8, max_depth=3
)
GOAL = 26.0  # operators per second on two cores
BASELINE = Path("configs/datasets/baseline_1k.yaml")
BASELINE_GOAL = 60.0  # seconds on two cores


def measure(settings: Settings) -> dict[str, Result]:
    """Simulate the same operators with both programs, in as many processes as threads."""
    each = 2 if settings.quick else 8  # operators per process and round
    rounds = 1 if settings.quick else 3
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(
            settings.threads, get_context("spawn"), initializer=limit_threads, initargs=(1,)
        ) as pool,
    ):
        parts = [(i * each, each) for i in range(settings.threads)]

        def run(program) -> None:  # type: ignore[no-untyped-def]
            jobs = [pool.submit(program, Path(folder), *part) for part in parts]
            for job in jobs:
                job.result()

        run(ours)  # imports, and the compiled loop
        run(plain)
        programs = {"ours": lambda: run(ours), "plain": lambda: run(plain)}
        seconds = interleaved(programs, rounds)
        whole = {} if settings.quick else _baseline(pool, Path(folder), settings.threads)
    operators = each * settings.threads
    faster = compared(seconds, "plain", per=operators, unit="", conditions="")
    rate = 1 / faster.ours
    conditions = (
        f"32×32, 3 channels, T 64, M 3, operators 0–{operators - 1} of the design, all families, "
        f"{settings.threads} processes of one thread; ours is the stage's own code, file included"
    )
    return {
        "simulation": Result(
            rate,
            rate / faster.ratio,
            "operators/s",
            conditions + "; reference: torch conv2d with circular padding, one frame at a time",
            higher_is_better=True,
        ),
        "simulation_goal": Result(
            rate, GOAL, "operators/s", conditions + "; reference: the goal", higher_is_better=True
        ),
        **whole,
    }


def _baseline(pool: ProcessPoolExecutor, folder: Path, processes: int) -> dict[str, Result]:
    """Simulate the whole of baseline_1k, its shards shared among the processes."""
    settings = load_dataset_settings(BASELINE)
    shards = range(0, settings.num_operators, settings.shard_size)
    start = time.perf_counter()
    jobs = [pool.submit(shards_of_baseline, folder, shards[i::processes]) for i in range(processes)]
    busy = [job.result() for job in jobs]
    wall = time.perf_counter() - start
    conditions = (
        f"all {settings.num_operators} operators of {BASELINE.stem} in {processes} processes of "
        f"one thread: processor time of the busier one, {wall:.0f} s on the clock of a machine "
        "that others used too; reference: the goal"
    )
    return {"simulation_baseline_1k": Result(max(busy), BASELINE_GOAL, "s", conditions)}


def shards_of_baseline(folder: Path, firsts: Sequence[int]) -> float:
    """Write shards of baseline_1k; return the processor time that they took."""
    settings = load_dataset_settings(BASELINE)
    start = time.process_time()
    for first in firsts:
        generate.run(settings, folder / f"baseline_{first}.h5", first, settings.shard_size)
    return time.process_time() - start


def ours(folder: Path, first: int, count: int) -> float:
    """Write a shard as the stage does."""
    start = time.perf_counter()
    generate.run(SETTINGS, folder / f"shard_{first}.h5", first, count)
    return time.perf_counter() - start


def plain(folder: Path, first: int, count: int) -> float:  # noqa: ARG001
    """Simulate and describe the same operators plainly; nothing is written."""
    start = time.perf_counter()
    space = DesignSpace(
        SETTINGS.max_depth,
        SETTINGS.max_width,
        tuple(SETTINGS.evolution_policies),
        tuple(SETTINGS.initial_conditions),
    )
    plan = SimulationPlan(
        SETTINGS.random_seed,
        SETTINGS.grid_size,
        SETTINGS.channels,
        SETTINGS.steps,
        SETTINGS.realizations,
        SETTINGS.divergence_bound,
    )
    plain_records(space, plan, first, count)
    return time.perf_counter() - start
