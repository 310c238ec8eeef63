"""The settings that a model depends on, and whether a model has those of an experiment."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spinlock.errors import SpinlockError, listed
from spinlock.settings import Experiment, stage_settings

STAGES_OF_MODEL = ("subset", "normalize", "cluster", "train")


def experiment_of_model(config: Any, model: Path) -> Experiment:
    """Return the settings that a model keeps.

    Raises
    ------
    SpinlockError
        When they are none of this version.
    """
    try:
        return Experiment.model_validate(config)
    except ValidationError as error:
        raise SpinlockError(
            f"the settings in this model are none of this version: {error.errors()[0]['msg']}",
            where=model,
            remedy="train it again",
        ) from error


def model_settings(experiment: Experiment) -> dict[str, Any]:
    """Return the settings that a model depends on: of its training, and of what it reads.

    Where the dataset stands is none: its content counts.
    """
    settings = {stage: stage_settings(experiment, stage) for stage in STAGES_OF_MODEL}
    del settings["subset"]["dataset_path"]
    return settings


def training_settings(experiment: Experiment) -> dict[str, Any]:
    """Return the settings that a resumed training must share; how long it goes on is free."""
    settings = model_settings(experiment)
    training = settings["train"]["training"]
    kept = {
        key: value for key, value in training.items() if key not in ("num_epochs", "save_every")
    }
    return settings | {"train": settings["train"] | {"training": kept}}


def require_own_model(experiment: Experiment, config: object, model: Path) -> None:
    """Check that a model was trained with the settings of an experiment, but for its length.

    Parameters
    ----------
    experiment : Experiment
    config : dict
        Settings that the model keeps.
    model : Path

    Raises
    ------
    SpinlockError
        When not: another program than the workflow may have made it, which then does not know.
    """
    differing = differing_settings(experiment, experiment_of_model(config, model))
    if differing:
        raise SpinlockError(
            f"this model was trained with another {listed(differing)} than the configuration says",
            where=model,
            remedy="train it again (remove the file), or configure what config.yaml beside it says",
        )


def differing_settings(
    one: Experiment,
    other: Experiment,
    of: Callable[[Experiment], dict[str, Any]] = training_settings,
) -> list[str]:
    """Return the names of what differs in the settings of stages, `of` two experiments."""
    pairs = zip(of(one).values(), of(other).values(), strict=True)
    return list(dict.fromkeys(name for pair in pairs for name in _differing(*pair)))


def _differing(one: Mapping[str, Any], other: Mapping[str, Any], within: str = "") -> list[str]:
    """Return the names, with those of their sections, of what differs between settings."""
    found = []
    for key in {**one, **other}:
        pair = one.get(key), other.get(key)
        if all(isinstance(value, dict) for value in pair):
            found += _differing(*pair, within=f"{within}{key}.")
        elif pair[0] != pair[1]:
            found.append(f"{within}{key}")
    return found
