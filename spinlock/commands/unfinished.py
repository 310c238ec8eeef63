"""Folders of what is not finished, in which nothing is mistaken for a result."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from spinlock.errors import SpinlockError
from spinlock.files import refusal_told


@contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """Give a hidden folder inside another, for what is not finished: it goes with the block."""
    with refusal_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        inner = TemporaryDirectory(dir=folder, prefix=".unfinished.")
    with inner as name:
        yield Path(name)


@contextmanager
def told_of_place(folder: Path, place: Path) -> Iterator[None]:
    """Let what goes wrong in a folder that will be gone when it is told be told of a place."""
    try:
        yield
    except SpinlockError as error:
        inner = isinstance(error.where, Path) and error.where.is_relative_to(folder)
        error.where = place if inner else error.where
        raise
