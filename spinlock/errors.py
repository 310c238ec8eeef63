"""The one exception for mistakes that a user can put right."""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# what a terminal takes for orders, but for the line's end
CONTROLS = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if code != ord("\n")}


def printable(text: str) -> str:
    """Return text, of a file perhaps, that can give a terminal no orders."""
    return text.translate(CONTROLS)


class SpinlockError(Exception):
    """A problem stated for the user: what is wrong, where, and what to do.

    Parameters
    ----------
    problem : str
        What is wrong, in one sentence.
    where : object, optional
        The file, key or dataset that is concerned.
    remedy : str, optional
        What the user can do about it.
    """

    def __init__(self, problem: str, *, where: object | None = None, remedy: str | None = None):
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.problem]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.remedy is not None:
            lines.append(f"  what to do: {self.remedy}")
        return printable("\n".join(lines))


@contextmanager
def refused_files_told() -> Iterator[None]:
    """Turn what the operating system refuses of a file in the block into a message.

    It is for what no one expects where it happens: folders that one may not enter, or names that
    are too long.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise SpinlockError(
            f"the file cannot be used: {error.strerror}",
            where=error.filename,
            remedy="check its name, and the permissions of its folders",
        ) from error


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return the first names as text, for messages."""
    return (", ".join(names[:most]) + (", …" if len(names) > most else "")) or "none"


@contextmanager
def located(where: object) -> Iterator[None]:
    """Say where a problem is that is found in the block by code which knows no files."""
    try:
        yield
    except SpinlockError as error:
        error.where = where if error.where is None else error.where
        raise


@contextmanager
def memory_for(work: str, remedy: str) -> Iterator[None]:
    """Turn running out of memory in the block, or in a decorated function, into a message.

    `work` is what was to be done: a verb, such as the name of a stage.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise SpinlockError(f"not enough memory to {work} ({first_line})", remedy=remedy) from error


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether an error of Python, numpy or torch (of the CPU or of a GPU) is about memory."""
    named = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or named or "can't allocate memory" in str(error)


def require_packages(extra: str, *packages: str) -> None:
    """Say how to install what an extra of this package brings, where it is not there.

    Raises
    ------
    SpinlockError
        When a package is missing.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise SpinlockError(
            f"packages are not installed: {', '.join(missing)}",
            remedy=f"in the checkout: pip install '.[{extra}]'",
        )
