"""A process that has imported all stages, and `decode`, and runs each request in its own fork.

Imports take seconds; a fork takes none, so that a stage can be killed at many moments. A request
is a line of JSON on standard input, the answer a line on standard output.
"""

import codecs
import ctypes
import json
import os
import resource
import signal
import sys
import time
from importlib import import_module

from spinlock import cli

NAMES = (
    "generate", "concatenate", "subset", "normalize", "cluster", "train", "evaluate", "encode",
    "visualize",
)  # fmt: skip
NOBODY = 65534


def main() -> None:
    """Answer requests until standard input ends."""
    codecs.lookup("cp437")  # of names in archives: imported late, by a fork that may not
    stages = {name: import_module(f"spinlock.stages.{name}").main for name in NAMES}
    import_module("spinlock.commands.decode")
    stages["decode"] = _decode
    for line in sys.stdin:
        request = json.loads(line)
        started = time.monotonic()
        heard, spoken = os.pipe()  # which no limit on files holds back
        child = os.fork()
        if not child:
            _run(stages[request["stage"]], request, spoken)
        os.close(spoken)
        if request.get("kill_after") is not None:
            time.sleep(request["kill_after"])
            os.kill(child, signal.SIGKILL)
        with os.fdopen(heard, errors="replace") as messages:
            answer = {"messages": messages.read()}
        _, status = os.waitpid(child, 0)
        answer |= {"status": os.waitstatus_to_exitcode(status)}
        print(json.dumps(answer | {"seconds": time.monotonic() - started}), flush=True)


def _decode(argv: list[str]) -> None:
    sys.argv = ["spinlock", "decode", *argv]
    cli.main()


def _run(stage: object, request: dict, messages: int) -> None:
    """Run a stage in this fork, with the limits of the request, and end."""
    for stream in (sys.stdout, sys.stderr):
        os.dup2(messages, stream.fileno())
    if request.get("file_limit") is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails, as on a full disk
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], limit))
    if request.get("failing") is not None:
        ctypes.CDLL(None).fail_files(*_as_c(**request["failing"]))
    if request.get("nobody") and not os.getuid():
        os.setuid(NOBODY)  # for root, no folder is read-only
    code = 0
    try:
        stage(request["argv"])
    except SystemExit as stopped:
        code = stopped.code or 0
    except BaseException as error:
        print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr)
        code = 70
    sys.stderr.flush()
    # coverage writes its own file now, and half of one would spoil the rest
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    os._exit(code)


def _as_c(path: str, operation: int, error: int, after: int) -> tuple[object, ...]:
    return path.encode(), operation, error, ctypes.c_longlong(after)


if __name__ == "__main__":
    main()
