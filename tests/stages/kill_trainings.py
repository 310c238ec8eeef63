"""Run a training, kill it at random moments, and start it again until it ends.

A program of its own: its processes are forked from one that has no threads yet, so that none of
them imports torch anew. Prints one line of JSON: per kill the signal, the exit status and the
seconds until the process was gone.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from spinlock.stages import train
from spinlock.training import resume

TRAININGS, KILLS, LANDED = 3, 8, 20


def begin(arguments: list[str]) -> int:
    """Start a training in a child, and return the child's process id."""
    child = os.fork()
    if child:
        return child
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    status = 70  # of a traceback
    try:
        train.main(arguments)
        status = 0
    except SystemExit as exit_:
        status = exit_.code
    finally:
        os._exit(status)


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path) -> None:
    """Train once undisturbed, then `TRAININGS` times with up to `KILLS` kills each."""
    torch.set_num_threads(1)
    resume.SAVE_SECONDS = 0.1
    moments = random.Random(0)
    given = [f"--config={folder}/experiment.yaml", f"--subset={folder}/subset.h5", "--threads=1"]
    given += [f"--statistics={folder}/feature_statistics.npz"]
    given += [f"--categories={folder}/categories.json"]
    started = time.monotonic()
    assert status_of(begin([*given, f"--output={folder}/undisturbed/best_model.pt"])) == 0
    length = time.monotonic() - started
    kills = []
    number = 0
    while number < TRAININGS or len(kills) < LANDED:
        arguments = [*given, f"--output={folder}/killed_{number}/best_model.pt"]
        status, tries = 1, 0
        while status:
            child = begin(arguments)
            if tries < KILLS:
                time.sleep(length * moments.uniform(0.05, 0.5))
                chosen = signal.SIGTERM if tries % 2 else signal.SIGKILL
                started = time.monotonic()
                os.kill(child, chosen)
                status = status_of(child)
                kills += [[chosen, status, time.monotonic() - started]] if status else []
                tries += 1
            else:
                status = status_of(child)
                assert status == 0
        number += 1
    print(json.dumps(kills))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
