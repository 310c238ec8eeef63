"""Training in several processes: each takes every n-th row of a batch, and sums are shared.

Without torch.distributed, or with one process, every function here leaves things as they are.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed


def process_count() -> int:
    """Return the number of processes that train together."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


def process_rank() -> int:
    """Return which of them this one is."""
    return distributed.get_rank() if process_count() > 1 else 0


def own_rows(values: Tensor) -> Tensor:
    """Return this process's part [b, ...] of a batch [B, ...]."""
    return values[process_rank() :: process_count()]


def sum_over_processes(values: Tensor) -> Tensor:
    """Add the values of all processes, in place."""
    if process_count() > 1:
        distributed.all_reduce(values)
    return values


def differentiable_sum(values: Tensor) -> Tensor:
    """Return the sum over all processes; its gradient is summed over them, too."""
    return _Sum.apply(values) if process_count() > 1 else values


def whole_batch(part: Tensor, n_rows: int, dim: int) -> Tensor:
    """Return the batch of `n_rows` along `dim`, of which every process has its own rows.

    Each process gets the gradient of its own part: what is computed of a whole batch counts
    once although every process computes it.
    """
    return _WholeBatch.apply(part, n_rows, dim) if process_count() > 1 else part


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun has started, with NCCL on GPUs and gloo elsewhere."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def agree(tensors: Iterable[Tensor]) -> None:
    """Give all processes the values of the first, in place."""
    if process_count() > 1:
        for values in tensors:
            distributed.broadcast(values.detach(), src=0)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        return sum_over_processes(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return sum_over_processes(gradients[0].clone())


class _WholeBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, n_rows: int, dim: int) -> Tensor:
        ctx.dim = dim
        shape = list(part.shape)
        shape[dim] = n_rows
        whole = part.new_zeros(shape)
        _own(whole, dim).copy_(part)
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _own(gradients[0], ctx.dim).contiguous(), None, None


def _own(whole: Tensor, dim: int) -> Tensor:
    return own_rows(whole.transpose(0, dim)).transpose(0, dim)
