"""Which files an experiment's dataset consists of: one given file, or generated shards."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spinlock.errors import SpinlockError
from spinlock.settings import (
    Experiment,
    OperatorDatasetSettings,
    load_dataset_settings,
)
from spinlock.settings.dataset import SIZE_ONLY, join_command

CONFIGS = Path("configs/datasets")
DATASETS = Path("datasets")


@dataclass(frozen=True)
class Shard:
    """A file of operators first..first+count of a generated dataset."""

    path: Path
    first: int
    count: int


def shards(
    name: str, settings: OperatorDatasetSettings, max_samples: int | None = None
) -> list[Shard]:
    """Return the shards that hold the first `max_samples` operators of a dataset."""
    total = settings.num_operators
    size = settings.shard_size
    needed = min(max_samples or total, total)
    return [
        Shard(
            DATASETS / name / f"shard_{index:05d}.h5",
            index * size,
            min(size, total - index * size),
        )
        for index in range(math.ceil(needed / size))
    ]


def dataset_config(name: str) -> Path:
    """Return where the settings of a generated dataset are."""
    return CONFIGS / f"{name}.yaml"


def configured_dataset(path: Path) -> OperatorDatasetSettings | None:
    """Return the settings of a dataset that can be generated; None of any other."""
    return load_dataset_settings(dataset_config(path.stem)) if _can_be_generated(path) else None


def generated_shards(experiment: Experiment) -> list[Shard]:
    """Return the shards to generate for an experiment; none when its dataset is a given file."""
    path = Path(experiment.dataset_path)
    if not _is_generated(path):
        return []
    settings = load_dataset_settings(dataset_config(path.stem))
    return shards(path.stem, settings, experiment.max_samples)


def given_datasets() -> list[str]:
    """Return the names of the files in datasets/ that were put there, not joined from shards."""
    return sorted(path.stem for path in DATASETS.glob("*.h5") if not _is_generated(path))


def is_simulated_file(path: Path) -> bool:
    """Return whether a file is a dataset that was simulated here, with whatever settings."""
    # HDF5, which hardly any dry run needs
    from spinlock.features.dataset import open_dataset  # noqa: PLC0415

    try:
        with open_dataset(path) as source:
            return says_simulated(source.attributes)
    except SpinlockError:
        return False


def says_simulated(attributes: Mapping[str, object]) -> bool:
    """Return whether attributes of /metadata hold settings that mostly have our names."""
    try:
        config = json.loads(str(attributes.get("config")))
    except (ValueError, RecursionError):
        return False
    wanted = OperatorDatasetSettings.model_fields.keys() - SIZE_ONLY
    return isinstance(config, dict) and 2 * len(wanted & config.keys()) > len(wanted)


def _can_be_generated(path: Path) -> bool:
    named = path.parent == DATASETS and path.suffix == ".h5"
    return named and os.path.isfile(dataset_config(path.stem))  # noqa: PTH113


def _is_generated(path: Path) -> bool:
    """Whether a dataset is read from its shards: also where these are joined, to a file beside."""
    if not _can_be_generated(path):
        return False
    return not path.is_file() or (_has_shards(path.stem) and is_simulated_file(path))


def _has_shards(name: str) -> bool:
    return any((DATASETS / name).glob("shard_*.h5"))


def named_files(experiment: Experiment) -> list[Path]:
    """Return the files that an experiment names, whether they are there or not."""
    made = [shard.path for shard in generated_shards(experiment)]
    return made or [Path(experiment.dataset_path)]


def dataset_files(experiment: Experiment) -> list[Path]:
    """Return the files that an experiment reads, in order.

    Raises
    ------
    SpinlockError
        When the dataset neither exists nor can be generated.
    """
    files, path = named_files(experiment), Path(experiment.dataset_path)
    if files == [path] and not os.path.exists(path):  # noqa: PTH110 - pathlib raises for names that are too long
        known = ", ".join(sorted(config.stem for config in CONFIGS.glob("*.yaml")))
        simulated = f", or to datasets/<name>.h5 of: {known}" if known else ""
        raise SpinlockError(
            "the dataset does not exist, and there is no configuration to generate it",
            where=path,
            remedy=f"set dataset_path to one HDF5 file, of shards joined by `{join_command()}`"
            f"{simulated}; relative paths start at {Path.cwd()}",
        )
    return files
