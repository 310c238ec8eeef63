"""Going on where a training left off: saved states, and whether they fit."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from spinlock.errors import SpinlockError, listed
from spinlock.tokenizer.state_file import inconsistency_told, read_state, write_state
from spinlock.training.loop import Trainer

log = logging.getLogger(__name__)

SAVE_SECONDS = 5.0  # of training that a kill may cost

bad_state_told = partial(
    inconsistency_told,
    what="this state of a training",
    remedy="remove it, or go on from another checkpoint",
)


class SavedState:
    """The state file of an unfinished training, `state/last.pt`.

    Parameters
    ----------
    path : Path
    stamp : mapping
        Digests of settings, data, code and start; a state with another stamp is not used.
    """

    def __init__(self, path: Path, stamp: Mapping[str, str]):
        self.path = path
        self.stamp = dict(stamp)
        self._saved = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """Return the saved training state, None when there is none that fits."""
        if not self.path.is_file():
            return None
        try:
            found = read_state(self.path)
            with bad_state_told(self.path):
                differing = differences(found.get("stamp", {}), self.stamp)
                state = found["training_state"]
        except SpinlockError as error:
            log.warning("the saved state is not used: %s", error.problem)
            return None
        if differing:
            log.info("%s is of other %s: starting anew", self.path, " and ".join(differing))
            return None
        return state

    def save(self, trainer: Trainer, *, now: bool = False) -> None:
        """Save the state of a trainer at rest, unless the last save is recent.

        Raises
        ------
        SpinlockError
            When losses or weights are no numbers any more; the last state that was saved stays.
        """
        if now or time.monotonic() - self._saved > SAVE_SECONDS:
            trainer.require_sound()
            write_state(self.path, {"stamp": self.stamp, "training_state": trainer.state_dict()})
            self._saved = time.monotonic()

    def discard(self) -> None:
        """Remove the file, and its folder when it is empty: the training it belongs to is done."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()


def state_of_checkpoint(
    path: Path,
    stamp: Mapping[str, str],
    num_epochs: int,
    differing_settings: Callable[[object], Sequence[str]],
) -> dict[str, Any]:
    """Return the training state in a checkpoint that the user wants to go on from.

    Parameters
    ----------
    path : Path
    stamp : mapping
        Digests of settings, data and code that the checkpoint must share.
    num_epochs : int
    differing_settings : function
        Gives the names of those settings of a checkpoint, as it keeps them, that differ.

    Raises
    ------
    SpinlockError
        When the checkpoint is of other settings, data or code, holds no training state, or has
        trained for more than `num_epochs`.
    """
    entries = read_state(path)
    if not entries.get("training_state"):
        raise SpinlockError(
            "this checkpoint holds no training state",
            where=path,
            remedy="resume from a best_model.pt or checkpoint_epoch_*.pt of a training",
        )
    with bad_state_told(path):
        differing = differences(entries.get("provenance", {}), stamp)
        epoch = int(entries["training_state"]["epoch"])
        state = _awake(entries["training_state"]) | {"optimizer": entries["optimizer_state_dict"]}
    if differing:
        settings = "settings" in differing and differing_settings(entries.get("config"))
        which = f" ({listed(settings)})" if settings else ""
        raise SpinlockError(
            f"this checkpoint was made with other {' and '.join(differing)}{which}",
            where=path,
            remedy="resume with what it was made with (--epochs may differ), or train anew",
        )
    if epoch > num_epochs:
        raise SpinlockError(
            f"this checkpoint has trained {epoch} epochs, and num_epochs is {num_epochs}",
            where=path,
            remedy=f"give --epochs {epoch} or more, or resume from an earlier checkpoint",
        )
    return state


def _awake(state: dict[str, Any]) -> dict[str, Any]:
    """Return a training state in which early stopping, if it ended the training, waits anew."""
    if not state["stopped"]:
        return state
    stopping = state["stopping"] | {"since": state["epoch"]}
    return state | {"stopped": False, "stopping": stopping}


def differences(found: Mapping[str, Any], wanted: Mapping[str, str]) -> list[str]:
    """Return the names in `wanted` whose digests differ."""
    return [name for name, digest in wanted.items() if found.get(name) != digest]
