"""Processes that are started together: what they are told, and how they end."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# in a process of its own, whose signals and threads are nobody else's
LAUNCH = """
import sys
import torch
from spinlock.training import launch
launch.STAGE = ("-c", sys.argv[1])
torch.set_num_threads(5)
launch.start_together(2, ["--config", "some.yaml"])
"""
TELL = """
import os, sys
told = os.environ["RANK"], os.environ["WORLD_SIZE"], os.environ["OMP_NUM_THREADS"]
line = " ".join([*told, *sys.argv[1:]]) + "\\n"
os.write(1, line.encode())  # at once, or lines of two processes mix
"""
WAIT = TELL + "import time; time.sleep(300)"
WATCH = "from spinlock.termination import end_with_parent; import os; "
WATCH += "end_with_parent(os.getppid())\n" + WAIT
FAIL = TELL + "sys.exit(4 if os.environ['RANK'] == '1' else 0)"


@contextmanager
def launched(program: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", LAUNCH, program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def test_processes_share_the_threads_and_get_the_arguments():
    with launched(TELL) as running:
        told, _ = running.communicate(timeout=300)
        assert running.returncode == 0
    assert sorted(told.splitlines()) == [
        f"{rank} 2 2 --config some.yaml --threads 2" for rank in (0, 1)
    ]


def test_the_status_is_that_of_the_process_that_failed():
    with launched(FAIL) as running:
        running.communicate(timeout=300)
        assert running.returncode == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_them(number):
    with launched(WAIT) as running:
        assert running.stdout is not None
        assert all(running.stdout.readline() for _ in range(2))
        running.send_signal(number)
        assert running.wait(timeout=60) == 128 + number
        assert running.stdout.read() == ""  # closed: no process is left that could write to it


def test_none_of_them_outlives_the_one_that_started_them():
    with launched(WATCH) as running:
        assert running.stdout is not None
        assert all(running.stdout.readline() for _ in range(2))
        running.kill()
        assert running.stdout.read() == ""
