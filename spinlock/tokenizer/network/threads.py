"""Blocks of rows, or categories, on several threads, each computed by one."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

LARGEST_BLOCK, SMALLEST_BLOCK = 2048, 1024  # rows; smaller ones cost threads more than they save
BLOCKS = 8  # at least, where rows are enough


Part = TypeVar("Part")
Result = TypeVar("Result")


def row_blocks(n_rows: int) -> list[slice]:
    """Return blocks of rows in order; the same for any number of threads, as sums depend on them.

    There is one, empty, when there are no rows.
    """
    rows = max(1, n_rows)
    blocks = min(BLOCKS, -(-rows // SMALLEST_BLOCK))
    size = min(LARGEST_BLOCK, -(-rows // blocks))
    return [slice(first, min(first + size, n_rows)) for first in range(0, rows, size)]


def map_parts(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return what a function without gradients gives for each part of the work, in order.

    Operations on a part are too small to be worth sharing among threads, each with its wait
    for the slowest; so each thread takes whole parts instead, as many as torch may use. Within
    a part there is one thread, also for parts of its own.
    """
    threads = torch.get_num_threads()
    if min(threads, len(parts)) == 1:
        with torch.no_grad():
            return [function(part) for part in parts]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(torch.no_grad()(function), parts))
    finally:
        torch.set_num_threads(threads)
