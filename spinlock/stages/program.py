"""What every stage does as a program: parse, log, report mistakes, exit."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from spinlock.errors import SpinlockError

USER_ERROR = 2


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
    """Parse `argv`, call `run` with the arguments by name, and turn mistakes into exit status 2.

    The thread limit is set before `run` imports a numeric library, so it reaches BLAS,
    OpenMP and torch alike; stages therefore import those inside `run`.
    """
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
        run(**arguments)
    except SpinlockError as error:
        if verbose:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)


def limit_threads(threads: int | None) -> None:
    """Make numeric libraries that are imported later use at most `threads` CPU threads."""
    if threads is None:
        return
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    os.environ["NUMBA_NUM_THREADS"] = str(threads)
