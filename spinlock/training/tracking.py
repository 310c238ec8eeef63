"""Weights & Biases: the epochs of a training and what it led to, where the settings ask for it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from spinlock.errors import SpinlockError

PROJECT = "spinlock"  # WANDB_PROJECT names another one


class Tracker:
    """Shows a training in a run of Weights & Biases; without a run it does nothing."""

    def __init__(self, run: Any = None):
        self._run = run

    def show_epoch(self, entry: Mapping[str, Any]) -> None:
        """Show a history entry; of what each book has, the mean."""
        if self._run is not None:
            numbers = {
                name: float(np.mean(value))
                for name, value in entry.items()
                if not isinstance(value, str)
            }
            self._run.log(numbers, step=entry["epoch"])

    def show_result(self, metrics: Mapping[str, float]) -> None:
        """Show the metrics of the model that is kept."""
        if self._run is not None:
            self._run.summary.update(dict(metrics))


def require_tracking(wanted: bool) -> None:
    """Check that there is the package, when a training is to be shown.

    Raises
    ------
    SpinlockError
        When there is not.
    """
    if wanted and find_spec("wandb") is None:
        raise _missing()


@contextmanager
def tracked(wanted: bool, folder: Path, config: Mapping[str, Any]) -> Iterator[Tracker]:
    """Give a tracker, with a run named like the folder that ends with the block.

    Raises
    ------
    SpinlockError
        When a run is wanted and cannot begin, or the package is missing.
    """
    if not wanted:
        yield Tracker()
        return
    try:
        import wandb  # noqa: PLC0415  # an extra
    except ImportError:
        raise _missing() from None
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            dir=folder,
            config=dict(config),
        )
    except wandb.Error as error:
        raise SpinlockError(
            f"Weights & Biases does not begin a run: {error}",
            remedy="wandb login, or set WANDB_MODE=offline, or say logging.wandb: false",
        ) from error
    with run:
        yield Tracker(run)


def _missing() -> SpinlockError:
    return SpinlockError(
        "logging.wandb asks for wandb, which is not installed",
        remedy="in the checkout: pip install '.[wandb]', or say false",
    )
