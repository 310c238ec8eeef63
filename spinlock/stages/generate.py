"""generate: simulate operators of a dataset and describe their behaviour.

Reads configs/datasets/<name>.yaml; writes one shard: operators first..first+count in the HDF5
layout. Shards are read as one dataset, and `concatenate` joins them into one file.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from spinlock.errors import SpinlockError, memory_for
from spinlock.features.hdf5 import create_hdf5
from spinlock.features.operator_file import OperatorFileWriter
from spinlock.operators.design import DesignSpace
from spinlock.operators.design_points import DIMENSIONS
from spinlock.operators.records import FAMILY_COLUMNS, TRAJECTORY_COLUMNS, operator_records
from spinlock.operators.simulation import SimulationPlan
from spinlock.program import execute, stage_parser
from spinlock.progress import progress_bar
from spinlock.settings import OperatorDatasetSettings, load_dataset_settings

log = logging.getLogger(__name__)

ROW_BLOCK = 50
LESS_MEMORY = "lower grid_size, steps or realizations of the dataset"


@memory_for("generate", LESS_MEMORY)
def run(
    config: Path | OperatorDatasetSettings,
    output: Path,
    first: int = 0,
    count: int | None = None,
    *,
    progress: bool = True,
) -> None:
    """Write operators first..first+count of a dataset; all of them by default.

    A caller that shows its own progress turns that of the operators off: a terminal has one place.
    """
    is_settings = isinstance(config, OperatorDatasetSettings)
    settings = config if is_settings else load_dataset_settings(config)
    count = settings.num_operators - first if count is None else count
    if not 0 <= first < first + count <= settings.num_operators:
        raise SpinlockError(
            f"operators {first}..{first + count} are not among the {settings.num_operators}",
            where=config,
            remedy="choose first and count inside num_operators",
        )
    diverged = 0
    starts = range(first, first + count, ROW_BLOCK)
    with create_hdf5(output) as file, progress_bar(shown=progress) as bar:
        writer = OperatorFileWriter(file, count, settings.model_dump(mode="json"))
        for start in bar.track(starts, description="generate"):
            block = min(ROW_BLOCK, first + count - start)
            records = operator_records(_space(settings), _plan(settings), start, block)
            writer.write(start - first, records)
            diverged += int(records["metadata/diverged"].sum())
        writer.describe(FAMILY_COLUMNS | TRAJECTORY_COLUMNS, DIMENSIONS)
    log.info("%d operators, %d of them diverged (kept and flagged)", count, diverged)


def _space(settings: OperatorDatasetSettings) -> DesignSpace:
    return DesignSpace(
        max_depth=settings.max_depth,
        max_width=settings.max_width,
        policies=tuple(settings.evolution_policies),
        initial_conditions=tuple(settings.initial_conditions),
    )


def _plan(settings: OperatorDatasetSettings) -> SimulationPlan:
    return SimulationPlan(
        seed=settings.random_seed,
        grid=settings.grid_size,
        channels=settings.channels,
        steps=settings.steps,
        realizations=settings.realizations,
        divergence_bound=settings.divergence_bound,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()
