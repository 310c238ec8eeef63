"""The device that settings or a caller name."""

import torch

from spinlock.errors import SpinlockError

KNOWN = ("cpu", "cuda")  # mps has no float64, in which tokens and decoders are settled


def choose_device(wanted: str | torch.device) -> torch.device:
    """Return the device of a name; `auto` takes cuda, else cpu.

    Raises
    ------
    SpinlockError
        When there is no such device, or not on this machine.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = _named(wanted)
    present = torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "cuda" and not present:
        raise SpinlockError(
            f"device {str(wanted)!r} is not available on this machine",
            remedy="set device: auto, or another device",
        )
    return device


def _named(wanted: str | torch.device) -> torch.device:
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in KNOWN:
        raise SpinlockError(
            f"device {str(wanted)!r} is not known",
            remedy="set device: auto, cpu, cuda or cuda:N",
        )
    return device
