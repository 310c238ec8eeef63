"""What every stage does as a program: parse, log, report mistakes, exit."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from spinlock.errors import SpinlockError
from spinlock.settings import Experiment, load_experiment

USER_ERROR = 2
TERMINATED = 128 + signal.SIGTERM
GRACE_SECONDS = 3.0  # from the signal until a stage leaves that has not come to rest


def stage_parser(documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the stage's docstring, with the options all stages have."""
    parser = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, help="CPU threads to use (default: all)")
    parser.add_argument("--verbose", action="store_true", help="show details and tracebacks")
    return parser


def execute(
    run: Callable[..., Any], parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> None:
    """Parse `argv`, call `run` with the arguments by name, and turn mistakes into exit status 2."""
    arguments = vars(parser.parse_args(argv))
    verbose = arguments.pop("verbose")
    limit_threads(arguments.pop("threads"))
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("matplotlib", "numba", "PIL", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # a terminated stage leaves through its clean-up, so nothing half-written stays behind
    asked: list[int] = []

    def leave(number: int, _: object) -> None:
        asked.append(number)
        sys.exit(TERMINATED)

    signal.signal(signal.SIGTERM, leave)
    try:
        run(**arguments)
    except Exception as error:
        if asked:  # compiled code may make another exception of the one that leaves
            sys.exit(TERMINATED)
        if not isinstance(error, SpinlockError):
            raise
        if verbose:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)


@contextmanager
def delayed_termination() -> Iterator[Callable[[], int | None]]:
    """Give a function that tells which signal, SIGTERM or Ctrl-C, has asked the block to end.

    The block asks when its work is at rest, and leaves in order. Where it does not within
    `GRACE_SECONDS`, or the signal comes again, it is left as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # signals go to the main thread
        return
    arrived: list[int] = []

    def leave(*_: object) -> None:
        sys.exit(128 + arrived[0])

    def note(number: int, _: object) -> None:
        arrived.append(number)
        if len(arrived) > 1:
            leave()
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    handlers = {signal.SIGTERM: note, signal.SIGINT: note, signal.SIGALRM: leave}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield lambda: arrived[0] if arrived else None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:  # the block ended by itself: what it was asked is asked again
        signal.raise_signal(arrived[0])


def experiment_of(config: Path | Experiment) -> Experiment:
    """Return the settings of a configuration file; settings themselves pass through."""
    return config if isinstance(config, Experiment) else load_experiment(config)


def experiment_of_model(config: Any, model: Path) -> Experiment:
    """Return the settings that a model keeps.

    Raises
    ------
    SpinlockError
        When they are none of this version.
    """
    try:
        return Experiment.model_validate(config)
    except ValidationError as error:
        raise SpinlockError(
            f"the settings in this model are none of this version: {error.errors()[0]['msg']}",
            where=model,
            remedy="train it again",
        ) from error


def limit_threads(threads: int | None) -> None:
    """Make BLAS, OpenMP and torch use at most `threads` CPU threads; None leaves them alone."""
    if threads is None:
        return
    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
