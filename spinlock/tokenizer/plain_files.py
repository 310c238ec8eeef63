"""A model as plain tensors (safetensors) beside JSON: nothing that could run code."""

import hashlib
from pathlib import Path

import torch

from spinlock.errors import SpinlockError, require_packages
from spinlock.files import atomic_path, read_json, write_json
from spinlock.tokenizer.checkpoint import KIND, Checkpoint


def write_safetensors(checkpoint: Checkpoint, path: Path) -> None:
    """Write weights and statistics as plain tensors, and the rest beside them as .json.

    The digest of the model goes with it: tokens of the one are tokens of the other.
    """
    require_packages("export", "safetensors")
    from safetensors.torch import save  # noqa: PLC0415

    groups = checkpoint.tensor_entries()
    tensors = {f"{g}/{k}": v.contiguous() for g, part in groups.items() for k, v in part.items()}
    content = save(tensors)
    described = checkpoint.plain_entries() | {
        "model_digest": checkpoint.digest,
        "tensors_digest": hashlib.sha256(content).hexdigest(),
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    write_json(path.with_suffix(".json"), described)


def read_safetensors(path: Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read what `write_safetensors` wrote.

    Raises
    ------
    SpinlockError
        When one of the two files is missing, damaged or of another version.
    """
    require_packages("export", "safetensors")
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    described = path.with_suffix(".json")
    try:
        entries = read_json(described) | {"optimizer_state_dict": {}, "training_state": {}}
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != entries["tensors_digest"]:
            raise ValueError("the tensors are not those that it was written with")
        for name, tensor in load(content).items():
            group, key = name.split("/", 1)
            entries.setdefault(group, {})[key] = tensor.to(device)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise SpinlockError(
            f"this file and {described.name} beside it cannot be read as a model: {error}",
            where=path,
            remedy="export the model again",
        ) from error
    return Checkpoint.of_entries(entries, path, device)


def is_plain_model(path: Path) -> bool:
    """Return whether a file is the JSON of `write_safetensors`, of any version."""
    try:
        return str(read_json(path).get("format")).startswith(KIND)
    except (OSError, ValueError, AttributeError):
        return False


def read_model(path: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint, or a model that was exported as `model.safetensors`."""
    if Path(path).suffix == ".safetensors":
        return read_safetensors(Path(path), device)
    return Checkpoint.load(path, device)
