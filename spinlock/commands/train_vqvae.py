"""train-vqvae: all stages up to the model, in one process, without Snakemake.

Reads a configuration and its dataset; writes what the rules write to `results/<experiment>/`.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinlock.commands.generate import generate_missing
from spinlock.commands.preconditions import (
    describe_data,
    note_config,
    require_inputs_apart,
    require_start,
)
from spinlock.commands.unfinished import told_of_place, unfinished_folder
from spinlock.files import sole_writer
from spinlock.operators.dataset_files import dataset_files
from spinlock.results.continuation import require_inputs
from spinlock.results.training_files import training_inputs
from spinlock.settings import Experiment
from spinlock.stages import cluster, normalize, subset, train

log = logging.getLogger(__name__)


def dry_run(
    experiment: Experiment,
    output: Path,
    resume_from: Path | None = None,
    config: Path | None = None,
) -> dict[str, Any]:
    """Return what an experiment would read, when all that `run` needs is there."""
    require_inputs_apart(experiment, output, config)
    data = describe_data(experiment)
    there = dataset_files(experiment) if data["state"] == "present" else []
    require_start(experiment, there, resume_from)
    return data


def run(
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
        with unfinished_folder(output) as folder, told_of_place(folder, output):
            _prepare(experiment, dataset, folder)
            require_inputs(experiment, training_inputs(folder), resume_from)
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
