"""Training in several processes: each takes every n-th row of a batch, and sums are shared.

Without torch.distributed, or with one process, every function here leaves things as they are.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from spinlock.errors import SpinlockError

PATIENCE = timedelta(hours=24)  # the start of a large table takes longer than libraries wait

Made = TypeVar("Made")


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
    """Join the processes that torchrun has started, with NCCL on GPUs and gloo elsewhere.

    Raises
    ------
    SpinlockError
        When there are more processes than GPUs, or the device is one of these for all.
    """
    if not started_together():
        yield
        return
    if device.index is not None:
        raise SpinlockError(
            f"each of several processes takes a GPU of its own, and device is {str(device)!r}",
            remedy="set device: cuda; CUDA_VISIBLE_DEVICES says which GPUs there are",
        )
    if device.type == "cuda":
        torch.cuda.set_device(_own_gpu())
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def started_together() -> bool:
    """Return whether torchrun has started this process; WORLD_SIZE alone may be a cluster's own."""
    return distributed.is_available() and distributed.is_torchelastic_launched()


def _own_gpu() -> int:
    rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if rank >= gpus:
        raise SpinlockError(
            f"process {rank + 1} of this machine has no GPU: there are {gpus}",
            remedy="start as many processes as there are GPUs",
        )
    return rank


def made_once(make: Callable[[], Made]) -> Made:
    """Return what the first process makes; the others, which might round otherwise, wait for it."""
    if process_count() == 1:
        return make()
    made = [make() if process_rank() == 0 else None]
    distributed.broadcast_object_list(made, src=0)
    return made[0]  # type: ignore[return-value]


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
