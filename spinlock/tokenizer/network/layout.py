"""How columns stand in categories: padded, so that all categories go through one operation."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class CategoryLayout(nn.Module):
    """Gather columns [B, D] into padded categories [C, B, W] and scatter them back.

    Parameters
    ----------
    partition : sequence of int arrays
        Columns of each category; W is the size of the largest one.
    n_columns : int
        D, the number of columns of the table.
    """

    index: Tensor
    order: Tensor

    def __init__(self, partition: Sequence[np.ndarray], n_columns: int):
        super().__init__()
        self.sizes = [len(members) for members in partition]
        self.width = max(self.sizes)
        self.n_columns = n_columns
        index = torch.full((len(partition), self.width), n_columns)
        for c, members in enumerate(partition):
            columns = torch.as_tensor(np.asarray(members), dtype=torch.long)
            index[c, : len(columns)] = columns
        self.register_buffer("index", index, persistent=False)
        order = torch.from_numpy(np.argsort(np.concatenate(partition)))
        self.register_buffer("order", order, persistent=False)

    @property
    def n_categories(self) -> int:
        """C, the number of categories."""
        return len(self.sizes)

    def gather(self, x: Tensor) -> Tensor:
        """Return columns x [B, D] by category, [C, B, W], padding zero."""
        return gather_columns(x, self.index)

    def scatter(self, y: Tensor) -> Tensor:
        """Return padded categories y [C, B, W] as columns [B, D]."""
        return _Scatter.apply(y, self.sizes, self.order, self.index)


def gather_columns(x: Tensor, index: Tensor) -> Tensor:
    """Return columns of x [B, D] at `index` [C, W] as [C, B, W]; zeros where it is D."""
    columns = torch.cat([x.T, x.new_zeros(1, x.shape[0])])  # as rows, which are copied faster
    return columns.index_select(0, index.flatten()).unflatten(0, index.shape).transpose(1, 2)


class _Scatter(torch.autograd.Function):
    """Padded categories as columns; its gradient gathers, where autograd would add one by one."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, sizes: Sequence[int], order: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return without_padding(y, sizes).index_select(1, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (index,) = ctx.saved_tensors
        return gather_columns(gradients[0], index), None, None, None


def without_padding(y: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the first n_c columns of each category c of y [C, B, W] side by side, [B, Σ n_c]."""
    return torch.cat([one[:, :size] for one, size in zip(y, sizes, strict=True)], dim=1)


class _Compact(torch.autograd.Function):
    """`without_padding`; its gradient is padded, where autograd would add one by one."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, sizes: Sequence[int]) -> Tensor:
        ctx.sizes, ctx.width = sizes, y.shape[-1]
        return without_padding(y, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        parts = gradients[0].split(ctx.sizes, dim=1)
        padded = [functional.pad(one, (0, ctx.width - one.shape[1])) for one in parts]
        return torch.stack(padded), None


def add_to_members(all_of: Tensor, some: Tensor, members: Tensor) -> Tensor:
    """Return [C, B, H] of all categories plus [M, B, H] of those that are `members` [M]."""
    return _AddToMembers.apply(all_of, some, members)


class _AddToMembers(torch.autograd.Function):
    """Compiled, it gathers: numbers would be added one at a time."""

    @staticmethod
    def forward(ctx: Any, all_of: Tensor, some: Tensor, members: Tensor) -> Tensor:
        ctx.save_for_backward(members)
        if not torch.compiler.is_compiling():
            return all_of.index_add(0, members, some)
        place = members.new_full(all_of.shape[:1], len(members))  # of what is no member
        place[members] = torch.arange(len(members), device=members.device)
        nothing = some.new_zeros(1, *some.shape[1:])
        return all_of + torch.cat([some, nothing]).index_select(0, place)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (members,) = ctx.saved_tensors
        return gradients[0], gradients[0].index_select(0, members), None


class EmbeddingDims(nn.Module):
    """Which dimensions of padded embeddings [C, B, E] exist: the first n_c of category c.

    Attributes
    ----------
    mask : Tensor [C, 1, E]
        1 where a category has the dimension, 0 where it is padding.
    between : Tensor [S, S]
        1 where two of all S dimensions belong to different categories.
    met_in_another : float
        How many dimensions of another category a dimension meets, on average.
    """

    mask: Tensor
    between: Tensor

    def __init__(self, sizes: Sequence[int], width: int):
        super().__init__()
        self.sizes = list(sizes)
        self.width = width
        self.total = sum(self.sizes)
        n_pairs = self.total**2 - sum(size**2 for size in self.sizes)
        self.met_in_another = n_pairs / max(1, self.total * (len(self.sizes) - 1))
        # in numpy: on the device "meta", where checkpoints compare shapes, tensors have no values
        exists = np.arange(width) < np.array(self.sizes)[:, None]
        category = np.repeat(np.arange(len(self.sizes)), self.sizes)
        buffers = {
            "mask": exists.astype(np.float32)[:, None],
            "between": (category[:, None] != category).astype(np.float32),
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def compact(self, z: Tensor) -> Tensor:
        """Return the dimensions of all categories side by side [B, S] of z [C, B, E]."""
        return _Compact.apply(z, self.sizes)


class CategoryLinear(nn.Module):
    """One linear map per category, evaluated as one batched matrix product.

    Maps [C, B, n_in] to [C, B, n_out]. Weights start at zero when `zero`, else as those of
    torch.nn.Linear.
    """

    def __init__(self, n_categories: int, n_in: int, n_out: int, *, zero: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_categories, n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(n_categories, 1, n_out))
        if not zero:
            bound = n_in**-0.5
            nn.init.uniform_(self.weight, -bound, bound)
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return x [C, B, n_in] @ weight + bias."""
        return torch.bmm(x, self.weight).add_(self.bias)


class Dropout(nn.Module):
    """Dropout whose random numbers are four to a draw where torch would draw one by one.

    The rate is rounded to a multiple of 2⁻¹⁶. Of categories [C, B, H] the same units of a row are
    dropped in all C: each has its own network, so for each it is dropout as ever, at a C-th of
    the random numbers.
    """

    def __init__(self, rate: float, *, of_categories: bool = False):
        super().__init__()
        self.rate = rate
        self.of_categories = of_categories
        self.dropped = min(round(rate * 2**16), 2**16 - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return x with some values zero and the others scaled up, in training only."""
        if not self.training or not self.rate:
            return x
        return x * self._scale(x)

    def _scale(self, x: Tensor) -> Tensor:
        """Return what x is multiplied by: zero where a value is dropped."""
        shape = x.shape[1:] if self.of_categories else x.shape
        if x.device.type != "cpu":  # their own is as fast
            return functional.dropout(x.new_ones(shape), self.rate)
        return torch.ops.spinlock.dropout_scale(shape, self.dropped).to(x.dtype)


# an operation of its own, so that a compiled model draws the same numbers, as fast; tagged as
# random, so that the compiler never lets one drawing stand for two
torch.library.define(
    "spinlock::dropout_scale",
    "(SymInt[] shape, int dropped) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded,),
)


@torch.library.impl("spinlock::dropout_scale", "default")
def _dropout_scale(shape: Sequence[int], dropped: int) -> Tensor:
    """Return zeros with a chance of `dropped` in 2¹⁶, elsewhere what keeps the mean."""
    size = math.prod(shape)
    draws = torch.empty((size + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    # compared as floats: a mask of bool takes several times as long, made and read
    numbers = draws.view(torch.int16)[:size].view(shape).float()
    return numbers.ge_(dropped - 2**15).mul_(2**16 / (2**16 - dropped))


@torch.library.register_fake("spinlock::dropout_scale")
def _empty(shape: Sequence[int], dropped: int) -> Tensor:  # noqa: ARG001
    return torch.empty(shape)
