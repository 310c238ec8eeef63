"""What every stage does as a program."""

import os

import pytest

from spinlock.program import execute, stage_parser, usable_cores


def test_ctrl_c_ends_a_stage_without_a_traceback():
    def run() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        execute(run, stage_parser("a stage"), [])
    assert stopped.value.code == 130


def test_cores_are_counted_where_a_process_knows_its_own_and_where_not(monkeypatch):
    assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()
