"""Files of plain values and tensors, which are read without running code or taking more memory."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spinlock.errors import SpinlockError
from spinlock.files import atomic_path

HDF5 = b"\x89HDF\r\n\x1a\n"  # its first bytes
DEEPEST = 50  # nesting of values
NOT_OURS = "give a best_model.pt or checkpoint_epoch_*.pt that spinlock wrote"


def write_state(path: str | Path, entries: Mapping[str, Any]) -> None:
    """Write plain values and tensors with torch.save, atomically; equal entries, equal bytes."""
    # given a path, torch hides why a write failed, and names its entries after the file
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(_without_identity(entries, {}), file)
        except RuntimeError as error:  # of an archive that ends where the disk is full
            raise error.__context__ or error from None


def _without_identity(value: Any, strings: dict[str, str]) -> Any:
    """Return nested values where equal strings are one object, and containers and storages none.

    A pickle says which objects are the same one, and that differs between values that were
    computed and equal ones that were read back.
    """
    if isinstance(value, str):
        return strings.setdefault(value, value)
    if isinstance(value, Mapping):
        return {
            _without_identity(key, strings): _without_identity(one, strings)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_without_identity(one, strings) for one in value)
    if isinstance(value, Tensor) and value.untyped_storage().nbytes() > value.nbytes:
        return value.clone()
    return value


def _require_whole(content: bytes) -> None:
    """Raise ValueError where bytes of a file differ from what was written: torch does not look."""
    if content.startswith(HDF5):
        raise ValueError("it is an HDF5 file, as datasets and tokens are")
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError("it is no archive of torch.save, or is cut")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(part.file_size for part in archive.infolist()) > len(content):
            raise ValueError("its parts are larger than the file")
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"its part {damaged} is damaged")


def read_state(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read what `write_state` wrote; nothing in the file can run code.

    Raises
    ------
    SpinlockError
        When the file is missing, damaged, or holds anything but plain values and tensors.
    """
    return read_with_digest(path, device)[0]


def read_with_digest(
    path: str | Path, device: str | torch.device = "cpu"
) -> tuple[dict[str, Any], str]:
    """Return what `read_state` does, and the SHA-256 of those bytes: the file may be replaced."""
    content = _content(path)
    return _entries(content, path, device), hashlib.sha256(content).hexdigest()


@contextmanager
def inconsistency_told(
    path: str | Path, what: str, remedy: str, *also: type[Exception]
) -> Iterator[None]:
    """Turn what is raised in the block, which makes objects of entries, into a message.

    `also` are errors that otherwise have another reason, such as a lack of memory.
    """
    try:
        yield
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError, *also) as error:
        raise SpinlockError(
            f"{what} is incomplete or inconsistent: {error}", where=path, remedy=remedy
        ) from error


def _content(path: str | Path) -> bytes:
    """Return the bytes of a model file."""
    if Path(path).is_dir():
        model = Path(path) / "best_model.pt"
        raise SpinlockError(
            "this is a folder and no model file",
            where=path,
            remedy=f"give {model}" if model.is_file() else NOT_OURS,
        )
    if not Path(path).is_file():
        raise SpinlockError("there is no such model file", where=path, remedy="train it first")
    try:
        return Path(path).read_bytes()
    except (OSError, MemoryError) as error:
        raise _no_model(path, error) from error


def _entries(content: bytes, path: str | Path, device: str | torch.device) -> dict[str, Any]:
    """Return what the bytes of a model file hold."""
    try:
        _require_whole(content)
        entries = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        _require_in_proportion(entries, len(content))
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise _no_model(path, error) from error
    if not isinstance(entries, dict):
        raise SpinlockError("this file holds no model", where=path, remedy=NOT_OURS)
    return entries


def _require_in_proportion(entries: Any, n_bytes: int) -> None:
    """Raise ValueError where values are more than the bytes of their file could spell out.

    A small file can repeat one number as a tensor of any size, and one list in many others.
    """
    for number, value in enumerate(_nested(entries, DEEPEST)):
        if number > n_bytes:
            raise ValueError("it holds more values than it has bytes")
        if isinstance(value, Tensor) and not _stands_in_full(value):
            raise ValueError("a tensor is larger than its numbers in the file")


def _nested(value: Any, deepest: int) -> Iterator[Any]:
    """Give a value and all that it holds."""
    if not deepest:
        raise ValueError("it is nested too deep")
    yield value
    inner = value.values() if isinstance(value, Mapping) else value
    for one in inner if isinstance(value, Mapping | list | tuple) else ():
        yield from _nested(one, deepest - 1)


def _stands_in_full(tensor: Tensor) -> bool:
    stored = tensor.layout is torch.strided and not tensor.is_meta
    return stored and tensor.untyped_storage().nbytes() >= tensor.nbytes


def _no_model(path: str | Path, error: Exception) -> SpinlockError:
    first_line = (str(error) or type(error).__name__).splitlines()[0]
    if "weights_only" in first_line:  # torch advises to run what the file says: never
        first_line = "it holds something else than plain values and tensors"
    return SpinlockError(
        f"this file cannot be read as a model: {first_line}", where=path, remedy=NOT_OURS
    )
