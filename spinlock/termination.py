"""Leaving in order when SIGTERM or Ctrl-C asks for it: nothing half-written stays behind."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TERMINATED = 128 + signal.SIGTERM
AGAIN_SECONDS = 0.5  # until a block that has been asked to leave is asked again
WATCH_SECONDS = 1.0  # between two looks at whether a parent is there
GRACE_SECONDS = 3.0  # from the signal until a block leaves that has not come to rest


@contextmanager
def orderly_termination() -> Iterator[None]:
    """Let SIGTERM end the program through the clean-up of whatever it is doing.

    Python drops an exception that is raised in a destructor or a callback of its own, so the
    block is asked again until it has left; what it does on its way out is not disturbed.
    """
    asked: list[int] = []

    def leave(number: int, _: object) -> None:
        asked.append(number)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        if not isinstance(sys.exception(), SystemExit):
            sys.exit(TERMINATED)

    signals = (signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.signal(number, leave) for number in signals}
    try:
        yield
    except Exception:
        if asked:  # compiled code may make another exception of the one that leaves
            sys.exit(TERMINATED)
        raise
    finally:
        if asked:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


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
        sys.exit(128 + arrived[0] if arrived else TERMINATED)  # it may have been asked before

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


def end_with_parent(parent: int) -> None:
    """End this process soon after the one that started it, which may have been killed outright."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
