"""What every stage does as a program: parse, log, use threads, report mistakes, exit."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from spinlock.errors import SpinlockError, refused_files_told
from spinlock.settings import Experiment, load_experiment
from spinlock.termination import orderly_termination

USER_ERROR, INTERRUPTED = 2, 128 + signal.SIGINT


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
    try:
        with orderly_termination(), refused_files_told():
            run(**arguments)
    except SpinlockError as error:
        if verbose:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def experiment_of(config: Path | Experiment) -> Experiment:
    """Return the settings of a configuration file; settings themselves pass through."""
    return config if isinstance(config, Experiment) else load_experiment(config)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(threads: int | None) -> None:
    """Make BLAS, OpenMP and torch use at most `threads` CPU threads; None leaves them alone."""
    if threads is None:
        return
    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
