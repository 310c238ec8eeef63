"""What `spinlock train-vqvae --dry-run` looks at: whether an experiment could run on its data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spinlock.errors import SpinlockError, located
from spinlock.features.columns import columns_of
from spinlock.features.dataset import open_dataset
from spinlock.features.family_layout import FamilyLayout
from spinlock.operators.records import FAMILY_COLUMNS
from spinlock.settings import Experiment, load_dataset_settings
from spinlock.settings.dataset_files import dataset_config, dataset_files, generated_shards
from spinlock.settings.families import require_readable
from spinlock.tokenizer.categories import mapped_columns
from spinlock.tokenizer.category_file import MAPPING_REMEDY, read_mapping


def describe_data(experiment: Experiment) -> dict[str, Any]:
    """Return rows and families that an experiment will read, whether they exist yet or not.

    Raises
    ------
    SpinlockError
        When the dataset is missing, damaged, or lacks what the settings name: a family, a label,
        what an encoder reads, a feature of the category mapping.
    """
    expected = generated_shards(experiment)
    if expected and not all(shard.path.is_file() for shard in expected):
        layouts, total = _to_be_simulated(experiment)
        state, with_fields, where = "to be simulated", True, experiment.dataset_path
    else:
        files, external = dataset_files(experiment), experiment.allow_external_data
        with open_dataset(files, external=external) as source:
            source.require(list(experiment.families))
            layouts = [source.families[name] for name in experiment.families]
            for label in _labels(experiment):
                source.labels(label)
            total, state, with_fields, where = (
                source.n_operators,
                "present",
                source.has_fields,
                source.where,
            )
    columns = columns_of(layouts, experiment.coefficients)
    with located(where):
        require_readable(experiment.families, columns.series, with_fields)
    _require_mapping(experiment, [column.full_name for column in columns.columns])
    return {
        "dataset": experiment.dataset_path,
        "state": state,
        "rows": min(experiment.max_samples or total, total),
        "families": {layout.name: list(layout.shape) for layout in layouts},
    }


def _to_be_simulated(experiment: Experiment) -> tuple[list[FamilyLayout], int]:
    """Return the families that simulated operators will have, and the number of operators."""
    config = dataset_config(Path(experiment.dataset_path).stem)
    unknown = [name for name in experiment.families if name not in FAMILY_COLUMNS]
    if unknown:
        raise SpinlockError(
            f"simulated operators have no family {', '.join(unknown)}",
            where=config,
            remedy="families that they have: architecture, initial, summary, temporal",
        )
    settings = load_dataset_settings(config)
    layouts = []
    for name in experiment.families:
        names = list(FAMILY_COLUMNS[name])
        shape = (settings.steps, len(names)) if name == "temporal" else (len(names),)
        layouts.append(FamilyLayout(name, shape, names, np.dtype(np.float32)))
    return layouts, settings.num_operators


def _labels(experiment: Experiment) -> list[str]:
    """Return the labels that an experiment splits by or predicts."""
    split = experiment.split
    asked = [split.column, split.group_by, experiment.evaluation.probe_column]
    return [label for label in asked if label]


def _require_mapping(experiment: Experiment, names: Sequence[str]) -> None:
    """Check that a manual mapping names columns that there are; which are kept shows later."""
    if experiment.training.category_assignment == "manual":
        path = Path(str(experiment.training.category_mapping_file))
        mapping = read_mapping(path, remedy=MAPPING_REMEDY)
        with located(path):
            mapped_columns(mapping, list(names))
