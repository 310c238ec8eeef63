"""Files of simulated operators: whether they hold what a dataset is configured to be."""

import json
from pathlib import Path

import h5py
import numpy as np

from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.features.hdf5 import read_text
from spinlock.operators.dataset_files import (
    Shard,
    configured_dataset,
    generated_shards,
    says_simulated,
)
from spinlock.operators.design_points import design_points
from spinlock.settings import Experiment, OperatorDatasetSettings, simulation_settings

REMOVE = "move or remove the file; the operators are then simulated"


def require_simulation(experiment: Experiment) -> list[Shard]:
    """Return the shards that an experiment needs, when those that are there hold the operators.

    Raises
    ------
    SpinlockError
        When a shard, or the file that `spinlock generate` wrote, is of another configuration.
    """
    expected, path = generated_shards(experiment), Path(experiment.dataset_path)
    settings = configured_dataset(path)
    if settings is None:
        return expected
    present = [shard for shard in expected if shard.path.is_file()]
    if not expected:
        with open_dataset(path, external=experiment.allow_external_data) as source:
            if says_simulated(source.attributes):  # else it is a user's own file
                present = [Shard(path, 0, settings.num_operators)]
    for shard in present:
        require_operators(shard.path, settings, shard.first, shard.count)
    return expected


def require_operators(
    path: Path, settings: OperatorDatasetSettings, first: int, count: int
) -> None:
    """Check that a file holds operators first..first+count of a dataset as it is configured now.

    Raises
    ------
    SpinlockError
        When they are others, or were simulated with other settings.
    """
    try:
        with h5py.File(path, "r") as file:
            metadata = file["metadata"]
            made = dict(json.loads(read_text(lambda: metadata.attrs["config"], path, [metadata])))
            points = file["parameters/vectors"]
            held, start = len(points), points[0]
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise SpinlockError(
            f"this is not a file of simulated operators ({error})",
            where=path,
            remedy=REMOVE,
        ) from error
    wanted = simulation_settings(settings)
    differing = [key for key in wanted if made.get(key) != wanted[key]]
    if differing:
        raise SpinlockError(
            f"these operators were simulated with another {', '.join(differing)}",
            where=path,
            remedy=REMOVE,
        )
    expected = design_points(settings.random_seed, first, 1)[0].astype(start.dtype)
    if held != count or not np.array_equal(start, expected):
        raise SpinlockError(
            f"this file does not hold operators {first} to {first + count - 1}",
            where=path,
            remedy=REMOVE,
        )
