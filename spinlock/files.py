"""Atomic writing and digests of files."""

import fcntl
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spinlock.errors import SpinlockError

MAX_JSON_BYTES = 100_000_000
SAMPLES, SAMPLE_BYTES = 16, 65_536


@contextmanager
def refusal_told(path: str | Path) -> Iterator[None]:
    """Turn what the operating system raises in the block, which writes `path`, into a message."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise SpinlockError(
            "cannot write there: a file stands where a folder is wanted",
            where=path,
            remedy="name another folder, or move the file; nothing was changed",
        ) from error
    except OSError as error:
        raise SpinlockError(
            f"cannot write the file: {error.strerror or error}",
            where=path,
            remedy="check the free space and the permissions of the folder; nothing was changed",
        ) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`, and move it there when the block succeeds.

    A reader of `path` sees the old file or the new one, never half of one: the temporary
    file is flushed to disk before the rename, and the folder after it. Of a link, the file that
    it leads to is written.

    Raises
    ------
    SpinlockError
        When the operating system refuses (disk full, read-only folder); the old file stays. When
        a device or a pipe stands there, which a file would replace.
    """
    path = Path(os.path.realpath(path) if os.path.islink(path) else path)  # noqa: PTH114 - pathlib raises for names that are too long
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with refusal_told(path):
        _refuse_device(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _refuse_device(path: Path) -> None:
    """Raise where something stands that is neither a file nor a folder: it would be replaced."""
    with suppress(FileNotFoundError, NotADirectoryError):
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise SpinlockError(
                "what stands there is no regular file", where=path, remedy="name a file to write"
            )


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Make a folder, and keep others from training into it: it is locked itself, not a file in it.

    Raises
    ------
    SpinlockError
        When another training does so already, or the folder cannot be made.
    """
    with refusal_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # network file systems may lock no folders
            _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SpinlockError(
            "another training writes into this folder",
            where=folder,
            remedy="wait until it has ended, or name another folder (--output)",
        ) from error


def refuse_overwriting(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Check that no output is a file that is read, or another output, under whatever name.

    Raises
    ------
    SpinlockError
        When one is.
    """
    taken = {_identity(path): "is read here too" for path in inputs}
    for path in outputs:
        if problem := taken.get(_identity(path)):
            raise SpinlockError(
                f"the file to write {problem}", where=path, remedy="name another file to write"
            )
        taken[_identity(path)] = "is named twice"


def refuse_replacing(path: Path, is_alike: Callable[[Path], bool]) -> None:
    """Check that a file that is written over, where there is one, is of the kind to be written.

    Raises
    ------
    SpinlockError
        When it is another one, of which there may be no copy.
    """
    if path.is_file() and not is_alike(path):
        raise SpinlockError(
            "the file to write is there already, and is another kind of file",
            where=path,
            remedy="name another file to write, or move this one",
        )


def require_folder(path: Path) -> None:
    """Check that a folder is there, or can be made.

    Raises
    ------
    SpinlockError
        When a file stands in its way.
    """
    with refusal_told(path):
        there = next(one for one in (path, *path.parents) if one.exists())
        if not there.is_dir():
            raise NotADirectoryError(there)


def require_suffix(path: Path, *known: str) -> None:
    """Check that the name of a file to write says what it will hold.

    Raises
    ------
    SpinlockError
        When it does not end as one of `known`.
    """
    if path.suffix not in known:
        raise SpinlockError(
            f"{path.suffix} is no suffix of what is written there"
            if path.suffix
            else "the name has no suffix, which says what is written there",
            where=path,
            remedy=f"name it {' or '.join(f'{path.stem}{suffix}' for suffix in known)}",
        )


def _identity(path: Path) -> tuple[int, int] | Path:
    """Return what tells a file from others: its inode where it exists, else its whole path."""
    try:
        found = path.stat()
    except OSError:
        return path.resolve()
    return found.st_dev, found.st_ino


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, values: Any, indent: int = 2) -> None:
    """Write values to `path` atomically, as JSON."""
    write_text(path, json.dumps(values, indent=indent) + "\n")


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    ValueError
        When it is larger than MAX_JSON_BYTES, not JSON, nested too deep, or has a key twice.
    OSError
        When it cannot be read.
    """
    with Path(path).open("rb") as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"it is larger than {MAX_JSON_BYTES:,} bytes")
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        twice = next(key for key in entries if sum(key == one for one, _ in pairs) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return entries


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of the file's bytes as hexadecimal text.

    Raises
    ------
    SpinlockError
        When it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SpinlockError(
            f"cannot read the file: {error.strerror or error}",
            where=path,
            remedy="check its permissions and the disk, or make the file again",
        ) from error


def file_sample(path: str | Path) -> str:
    """Return a file's size and a digest of blocks spread over it, as text; quick for any size.

    It tells that a file was replaced, also by an older one; of a file of at most 1 MiB every byte
    counts. What is no readable file gives "", for its reader to explain.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib raises for names that are too long
        return ""
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            last = max(size - SAMPLE_BYTES, 0)
            digest = hashlib.sha256()
            for offset in sorted({last * i // (SAMPLES - 1) for i in range(SAMPLES)}):
                file.seek(offset)
                digest.update(file.read(SAMPLE_BYTES))
    except OSError:
        return ""
    return f"{size} bytes, {digest.hexdigest()}"


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
