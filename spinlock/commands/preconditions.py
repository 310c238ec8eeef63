"""What must hold before an experiment runs: a dry run looks at it, and a run does so first."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spinlock.errors import SpinlockError, listed, located
from spinlock.features.columns import columns_of
from spinlock.features.dataset import open_dataset
from spinlock.features.family_layout import FamilyLayout
from spinlock.features.split import random_split
from spinlock.features.table import is_table
from spinlock.files import refuse_overwriting, refuse_replacing, require_folder, write_text
from spinlock.operators.dataset_files import dataset_config, dataset_files, named_files
from spinlock.operators.layouts import LABELS, family_layouts
from spinlock.operators.simulated_files import require_simulation
from spinlock.results.continuation import state_to_go_on_from, training_stamp
from spinlock.results.training_files import checkpoints, training_inputs, training_outputs
from spinlock.settings import Experiment, load_dataset_settings
from spinlock.settings.families import require_readable
from spinlock.stages.subset import require_color, require_labels, split_rows
from spinlock.tokenizer.categories.mapping import MAPPING_REMEDY, mapped_columns, read_mapping
from spinlock.tokenizer.checkpoint import is_checkpoint
from spinlock.tokenizer.device import choose_device
from spinlock.training.tracking import require_tracking

CONFIG_NOTE = "config_path.txt"

log = logging.getLogger(__name__)


class Data(NamedTuple):
    """What an experiment reads: families and rows, whether they exist yet or not."""

    state: str
    layouts: list[FamilyLayout]
    n_operators: int
    grid: tuple[int, int] | None
    where: str


def describe_data(experiment: Experiment) -> dict[str, Any]:
    """Return rows and families that an experiment will read, whether they exist yet or not.

    Raises
    ------
    SpinlockError
        When the dataset is missing, damaged, of another simulation, or lacks what the settings
        name: a family, a label, rows for each side of the split, what an encoder reads, a feature
        of the category mapping.
    """
    expected = require_simulation(experiment)
    simulated = expected and not all(shard.path.is_file() for shard in expected)
    data = _to_be_simulated(experiment) if simulated else _present(experiment)
    columns = columns_of(data.layouts, experiment.coefficients)
    with located(data.where):
        require_readable(experiment.families, columns.series, data.grid)
    names = [column.full_name for column in columns.columns]
    _require_mapping(experiment, names)
    require_color(experiment.visualization.color_by, names)
    return {
        "dataset": experiment.dataset_path,
        "state": data.state,
        "rows": experiment.rows_of(data.n_operators),
        "families": {layout.name: list(layout.shape) for layout in data.layouts},
    }


def require_start(
    experiment: Experiment, dataset: Sequence[Path], resume_from: Path | None = None
) -> None:
    """Check that there is what a training needs, and that it can go on from a checkpoint.

    `dataset` are the files that are there already; without any, they are not compared.

    Raises
    ------
    SpinlockError
        When not: nothing has been written over by then.
    """
    choose_device(experiment.device)
    require_tracking(experiment.logging.wandb)
    if resume_from is None:
        return
    stamp = training_stamp(experiment)
    if dataset:
        with open_dataset(dataset, external=experiment.allow_external_data) as source:
            stamp["dataset"] = source.digest(fields=experiment.reads_fields)
    state_to_go_on_from(experiment, resume_from, stamp)


def require_inputs_apart(experiment: Experiment, folder: Path, config: Path | None) -> None:
    """Check that a training can write into a folder, and over nothing that it reads.

    Raises
    ------
    SpinlockError
        When a file stands in the folder's way, or it would write over the dataset, the
        configuration, the mapping of the categories, or files that no training here wrote.
    """
    given = [experiment.training.manual_mapping, config]
    read = [*named_files(experiment), *[path for path in given if path is not None]]
    beside = [folder / name for name in ("silhouette.csv", "linkage.npz", CONFIG_NOTE)]
    written = [*training_inputs(folder), *training_outputs(folder), *beside]
    refuse_overwriting(written, read)
    require_folder(folder)
    _require_no_others(folder, written)


def _require_no_others(folder: Path, written: Sequence[Path]) -> None:
    """Check that what a training would write over was written by one: models and subsets show it.

    Raises
    ------
    SpinlockError
        When files have the names of results, and none is a result.
    """
    subset, model = folder / "subset.h5", folder / "best_model.pt"
    refuse_replacing(subset, is_table)
    for path in (model, *checkpoints(folder)):
        refuse_replacing(path, is_checkpoint)
    there = [path.name for path in written if path.is_file()]
    if there and not (subset.is_file() or model.is_file()):
        raise SpinlockError(
            f"{listed(there)} would be written over, and no training wrote what is there",
            where=folder,
            remedy="name another folder, or move them",
        )


def require_own_folder(folder: Path, config: Path) -> None:
    """Check that a folder that no one named holds no model of another experiment.

    Raises
    ------
    SpinlockError
        When its model is of another configuration file.
    """
    noted = folder / CONFIG_NOTE
    if not (noted.is_file() and (folder / "best_model.pt").is_file()):
        return
    there = (folder / noted.read_text(encoding="utf-8").strip()).resolve()
    if there != config.resolve():
        raise SpinlockError(
            f"the model there is of another configuration, {there}, and not of {config.resolve()}",
            where=folder,
            remedy="say --output FOLDER to keep both, or remove the model",
        )


def note_config(folder: Path, config: Path) -> None:
    """Note in a folder, relative to it, which configuration file its model is of."""
    write_text(folder / CONFIG_NOTE, os.path.relpath(config.resolve(), folder.resolve()) + "\n")


def _present(experiment: Experiment) -> Data:
    """Return what a dataset that is there holds, when it has all that the settings name."""
    files, external = dataset_files(experiment), experiment.allow_external_data
    with open_dataset(files, external=external) as source:
        source.require(list(experiment.families))
        require_labels(experiment, source)
        with located(source.where):
            split_rows(experiment, source)
        layouts = [source.families[name] for name in experiment.families]
        return Data("present", layouts, source.n_operators, source.grid, source.where)


def _to_be_simulated(experiment: Experiment) -> Data:
    """Return what simulated operators will have."""
    config = dataset_config(Path(experiment.dataset_path).stem)
    settings = load_dataset_settings(config)
    simulated = family_layouts(settings.steps)
    unknown = [name for name in experiment.families if name not in simulated]
    if unknown:
        raise SpinlockError(
            f"simulated operators have no family {', '.join(unknown)}",
            where=config,
            remedy=f"families that they have: {', '.join(simulated)}",
        )
    _require_simulated_labels(experiment, config)
    split = experiment.split
    if not (split.column or split.group_by):
        rows = experiment.rows_of(settings.num_operators)
        with located(config):
            random_split(rows, split.val_fraction, split.test_fraction, experiment.random_seed)
    layouts = [simulated[name] for name in experiment.families]
    grid = settings.grid_size, settings.grid_size
    return Data("to be simulated", layouts, settings.num_operators, grid, str(config))


def _require_simulated_labels(experiment: Experiment, config: Path) -> None:
    """Check that simulated operators will have the labels that an experiment names."""
    unknown = [label for label in experiment.labels if label.strip("/") not in LABELS]
    if unknown:
        raise SpinlockError(
            f"simulated operators have no label {listed(unknown)}",
            where=config,
            remedy=f"labels that they have: {', '.join(LABELS)}",
        )


def _require_mapping(experiment: Experiment, names: Sequence[str]) -> None:
    """Check that a manual mapping names columns that there are; which are kept shows later."""
    path = experiment.training.manual_mapping
    if path is not None:
        mapping = read_mapping(path, remedy=MAPPING_REMEDY)
        with located(path):
            named = {
                c for members in mapped_columns(mapping, list(names)).values() for c in members
            }
        _require_levels(experiment.model.levels, mapping, path)
        left_out = [name for i, name in enumerate(names) if i not in named]
        if left_out:
            log.warning(
                "%s leaves features out, which a run refuses unless cleaning drops them: %s",
                path,
                listed(left_out),
            )


def _require_levels(levels: object, mapping: Mapping[str, object], path: Path) -> None:
    """Check that levels that are given by category are of categories of the mapping."""
    unknown = [name for name in levels if name not in mapping] if isinstance(levels, dict) else []
    if unknown:
        raise SpinlockError(
            f"model.levels names categories that are not in the mapping: {listed(unknown)}",
            where=path,
            remedy=f"categories that are there: {listed(list(mapping))}",
        )
