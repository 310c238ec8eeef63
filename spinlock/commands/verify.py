"""verify: recompute the digests of what a model was made from, and compare.

Reads a result folder and the dataset that it was made from; writes nothing.
"""

import csv
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from spinlock.errors import SpinlockError, listed
from spinlock.features.dataset import open_dataset
from spinlock.operators.dataset_files import dataset_files
from spinlock.results.evaluation_files import are_metrics_of, read_metrics
from spinlock.results.model_settings import (
    differing_settings,
    experiment_of_model,
    model_settings,
    training_settings,
)
from spinlock.results.training_files import training_inputs
from spinlock.settings import Experiment, load_experiment
from spinlock.settings.experiment import EXPERIMENTS, RESULTS
from spinlock.source import source_digest
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.token_file import open_tokens
from spinlock.training.provenance import files_digest, settings_digest

log = logging.getLogger(__name__)

SAME, DIFFERS, MISSING, UNKNOWN = "same", "DIFFERS", "not there", "NOT RECORDED"
NO_TIME = (StopIteration, KeyError, TypeError, ValueError)  # of a file that is empty, or cut


def run(results: Path) -> dict[str, str]:
    """Return what became of settings, code, data, tokens and metrics since the training.

    Settings are those of the experiment's configuration, where there is one for the folder; else
    those that the model carries.
    """
    if results.is_file():
        raise SpinlockError(
            "this is a file and no result folder",
            where=results,
            remedy=f"give the folder: {results.parent}",
        )
    model = results / "best_model.pt"
    checkpoint = Checkpoint.load(model)
    recorded = checkpoint.provenance
    experiment = experiment_of_model(checkpoint.config, model)
    inputs, tokens = training_inputs(results), results / "tokens.h5"
    metrics = results / "metrics.json"
    states = {
        "settings": _settings_state(experiment, _configured(results), recorded.get("settings")),
        "code": _state(source_digest("spinlock.stages.train"), recorded.get("code")),
        "dataset": _dataset_state(experiment, recorded.get("dataset")),
        "data": MISSING,
        "tokens": MISSING,
        "metrics": MISSING,
    }
    if all(path.is_file() for path in inputs):
        states["data"] = _state(files_digest(inputs), recorded.get("data"))
    if tokens.is_file():
        with open_tokens(tokens) as file:
            states["tokens"] = _state(checkpoint.digest, file.attrs["model_digest"])
    if metrics.is_file():
        states["metrics"] = _metrics_state(checkpoint, read_metrics(metrics))
    return states


def wall_times(results: Path) -> dict[str, float]:
    """Return stage → seconds that it took, from Snakemake's benchmarks."""
    seconds = {}
    for path in sorted((results / "benchmarks").glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file, suppress(*NO_TIME):
            seconds[path.stem] = float(next(csv.DictReader(file, delimiter="\t"))["s"])
    return seconds


def _configured(results: Path) -> Experiment | None:
    """Return the settings of the experiment that makes a result folder; None where none does."""
    folder = results.resolve()
    if not folder.is_relative_to(RESULTS.resolve()):
        return None
    name = folder.relative_to(RESULTS.resolve())
    config = EXPERIMENTS / name.parent / f"{name.name}.yaml"
    return load_experiment(config) if config.is_file() else None


def _settings_state(experiment: Experiment, configured: Experiment | None, recorded: object) -> str:
    """Compare a model's settings with their digest, and with the configuration as it is now."""
    if configured is not None:
        differing = differing_settings(experiment, configured, of=model_settings)
        if differing:
            log.warning("settings that the model was not trained with: %s", listed(differing))
            return DIFFERS
    return _state(settings_digest(training_settings(experiment)), recorded)


def _dataset_state(experiment: Experiment, recorded: object) -> str:
    try:
        paths = dataset_files(experiment)
    except SpinlockError:
        return MISSING
    if not all(path.is_file() for path in paths):
        return MISSING
    with open_dataset(paths, external=experiment.allow_external_data) as dataset:
        return _state(dataset.digest(fields=experiment.reads_fields), recorded)


def _metrics_state(checkpoint: Checkpoint, measured: Mapping[str, Any]) -> str:
    if measured.get("model_digest") is None:
        return UNKNOWN
    own = are_metrics_of(measured, checkpoint.digest, checkpoint.header.source_digest)
    return SAME if own else DIFFERS


def _state(found: str, recorded: object) -> str:
    if recorded is None:
        return UNKNOWN
    return SAME if found == recorded else DIFFERS
