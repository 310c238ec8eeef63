"""HDF5 files: new ones, written atomically, also onto a full disk; damage of old ones, told."""

import io
import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py

from spinlock.errors import SpinlockError, located
from spinlock.files import atomic_path

TRIAL_SECONDS = 20.0  # of computing; ten million texts take about five
NO_FILTER = ("required filter", "plugin")  # in HDF5's words for one that is missing
DAMAGED = "the file is damaged; copy or generate it again"

T = TypeVar("T")


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
        if any(sign in str(error) for sign in NO_FILTER):
            raise SpinlockError(
                f"{name} is compressed by a filter that is not installed here",
                where=where,
                remedy="pip install hdf5plugin and set HDF5_PLUGIN_PATH, or copy it with h5repack",
            ) from error
        raise SpinlockError(
            f"{name} cannot be read: {os.strerror(number) if number else error}",
            where=where,
            remedy=DAMAGED,
        ) from error


def read_text(
    read: Callable[[], T], where: object, places: Iterable[h5py.Group | h5py.Dataset]
) -> T:
    """Return what `read` gives, which reads attributes of the places, or datasets among them.

    On damaged text of variable length the HDF5 library may loop for ever, or end the process.
    So where there is such text, a process of its own reads it first.

    Raises
    ------
    SpinlockError
        When that process did not come to its end.
    """
    if any(_varies(place) for place in places):
        with located(where):
            ended = _try_apart(read)
        if ended is not None:
            raise SpinlockError(
                f"its text cannot be read: the HDF5 library {ended}", where=where, remedy=DAMAGED
            )
    return read()


def _varies(place: h5py.Group | h5py.Dataset) -> bool:
    """Whether a dataset or an attribute of the place holds values of variable length."""
    types = [place.attrs.get_id(name).dtype for name in place.attrs]
    if isinstance(place, h5py.Dataset):
        types.append(place.dtype)
    return any(one.hasobject for one in types)


def _try_apart(read: Callable[[], object]) -> str | None:
    """Read in a fork; None when it comes back, with a result or an exception, else how it ended."""
    child = _fork()
    if child == 0:
        try:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, TRIAL_SECONDS)
            logging.disable()
            read()
        finally:
            os._exit(0)
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:  # this program was started with SIGCHLD ignored: nobody knows how
        return None
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    if not os.WIFSIGNALED(status):
        return None
    number = os.WTERMSIG(status)
    if number == signal.SIGPROF:
        return f"does not come back within {TRIAL_SECONDS:g} seconds"
    return f"ends with {signal.Signals(number).name}"


def _fork() -> int:
    try:
        with warnings.catch_warnings():
            # the fork needs no lock but those of h5py, which are held while it is made
            warnings.simplefilter("ignore", DeprecationWarning)
            return os.fork()
    except OSError as error:
        raise SpinlockError(
            f"no process can be started, which reads text first: {error.strerror}",
            remedy="end other processes, raise their limit (ulimit -u), or free memory",
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
