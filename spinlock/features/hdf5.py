"""HDF5 files: new ones, written atomically, also onto a full disk; damage of old ones, told."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from spinlock.errors import SpinlockError
from spinlock.files import atomic_path


@contextmanager
def create_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """Give a new HDF5 file, which appears at `path` when the block succeeds.

    Raises
    ------
    SpinlockError
        When the operating system refuses (disk full); the old file stays.
    """
    with atomic_path(path) as temporary, _Disk(temporary, "w+b") as disk:
        try:
            with h5py.File(disk, "w") as file:
                yield file
        finally:
            if disk.refusal is not None:
                raise disk.refusal


@contextmanager
def damage_told(where: object, name: str = "the file") -> Iterator[None]:
    """Turn whatever h5py raises in the block, of a damaged file or disk, into a message."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        number = getattr(error, "errno", None)
        raise SpinlockError(
            f"{name} cannot be read: {os.strerror(number) if number else error}",
            where=where,
            remedy="the file is damaged; copy or generate it again",
        ) from error


class _Disk(io.FileIO):
    """A file that keeps the first refusal to write for later.

    The HDF5 library may end the whole process when a write fails while it closes a file, so it
    is told that all went well.
    """

    refusal: OSError | None = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.refusal is None:
            rest = memoryview(data).cast("B")
            try:
                while len(rest):
                    rest = rest[super().write(rest) :]
            except OSError as error:
                self.refusal = error
        if self.refusal is not None:
            self.seek(size, io.SEEK_CUR)
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.refusal = self.refusal or error
            return 0 if size is None else size
