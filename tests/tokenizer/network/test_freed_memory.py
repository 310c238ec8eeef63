"""Freed memory goes back to the machine, where the C library can be asked."""

import ctypes
import re
from pathlib import Path

import pytest
import torch

from spinlock.tokenizer.network import freed_memory
from spinlock.tokenizer.network.freed_memory import return_freed_memory

STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    return 1024 * int(re.search(r"VmRSS:\s+(\d+) kB", STATUS.read_text())[1])


@pytest.mark.skipif(not STATUS.exists(), reason="the machine does not tell a process's memory")
@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)
def test_what_was_freed_between_tensors_that_stay_goes_back():
    torch.zeros(8_000_000)  # from here on, blocks of this size are no longer mapped one by one
    tensors = [torch.ones(25_000) for _ in range(2000)]  # 200 MB
    tensors = tensors[::20]
    before = resident_bytes()
    return_freed_memory()
    assert resident_bytes() < before - 100e6
    assert all(bool((one == 1).all()) for one in tensors)


def test_where_the_c_library_cannot_be_asked_nothing_happens(monkeypatch):
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda _: object())
    return_freed_memory()
