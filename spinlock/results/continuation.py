"""What a training can go on from: settings, code and files that must be the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from spinlock.features.table import FeatureTable
from spinlock.files import file_digest
from spinlock.results.model_settings import (
    differing_settings,
    experiment_of_model,
    training_settings,
)
from spinlock.results.training_files import read_fitted
from spinlock.settings import Experiment, stage_settings
from spinlock.source import source_digest
from spinlock.training.provenance import files_digest, settings_digest
from spinlock.training.requests import explicit_levels
from spinlock.training.resume import state_of_checkpoint


def training_stamp(experiment: Experiment) -> dict[str, str]:
    """Return the digests of settings and code that a resumed training must share."""
    return {
        "settings": settings_digest(training_settings(experiment)),
        "code": source_digest("spinlock.stages.train"),
    }


def whole_stamp(
    experiment: Experiment,
    device: torch.device,
    resume_from: Path | None,
    stamp: Mapping[str, str],
) -> dict[str, str]:
    """Return the stamp of an unfinished training: what all of its result depends on.

    The kind of device, too: random states of one are none of another.
    """
    settings = settings_digest(stage_settings(experiment, "train"))
    start = file_digest(resume_from) if resume_from and resume_from.is_file() else ""
    return {**stamp, "settings": settings, "start": start, "device": device.type}


def state_to_go_on_from(
    experiment: Experiment, checkpoint: Path, stamp: Mapping[str, str]
) -> dict[str, Any]:
    """Return the training state of a checkpoint, which must share the digests of a stamp.

    Raises
    ------
    SpinlockError
        When it does not, or has trained for longer than the experiment asks for.
    """

    def differing(config: object) -> list[str]:
        return differing_settings(experiment_of_model(config, checkpoint), experiment)

    return state_of_checkpoint(checkpoint, stamp, experiment.training.num_epochs, differing)


def require_inputs(
    experiment: Experiment, inputs: Sequence[Path], resume_from: Path | None
) -> None:
    """Check that a model can be made from these files, and a training go on with them.

    Parameters
    ----------
    experiment : Experiment
    inputs : sequence of Path
        subset.h5, feature_statistics.npz and categories.json.
    resume_from : Path, optional
        The checkpoint that a training goes on from.

    Raises
    ------
    SpinlockError
        When the settings name categories that there are not, or the checkpoint was made from other
        files.
    """
    subset, statistics, categories = inputs
    with FeatureTable(subset) as table:
        _, partition = read_fitted(table, statistics, categories)
    explicit_levels(experiment, list(partition))
    if resume_from is not None:
        stamp = training_stamp(experiment) | {"data": files_digest(inputs)}
        state_to_go_on_from(experiment, resume_from, stamp)
