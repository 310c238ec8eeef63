"""What every stage does as a program."""

import os

from spinlock.stages.program import usable_cores


def test_cores_are_counted_where_a_process_knows_its_own_and_where_not(monkeypatch):
    assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()
