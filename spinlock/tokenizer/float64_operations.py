"""Operations that ONNX runtimes lack in float64, by those that they have.

ONNX Runtime has no error function, no convolution and no pooling in float64. Each function
here is what torch computes under the same name, to rounding.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.polynomial import Chebyshev
from scipy.special import erfcx
from torch import Tensor
from torch.export import ExportedProgram
from torch.nn import functional

from spinlock.errors import SpinlockError

DEGREE = 28  # leaves an error of 1e-15


def with_float64_operations(graph: ExportedProgram) -> ExportedProgram:
    """Return the graph with these operations in place of those of torch."""
    aten = torch.ops.aten
    replacements: dict[Callable, Callable] = {
        aten.gelu.default: gelu,
        aten.conv1d.padding: convolve,
        aten.conv2d.default: convolve,
        aten.adaptive_avg_pool1d.default: adaptive_mean,
        aten.adaptive_avg_pool2d.default: adaptive_mean,
        aten.avg_pool2d.default: mean_of_blocks,
    }
    return graph.run_decompositions(replacements)


@cache
def _complement() -> list[float]:
    """Return Chebyshev coefficients of log(erfcx(x) / t) over t = 2 / (2 + x), for x ≥ 0."""

    def smooth(t: np.ndarray) -> np.ndarray:
        return np.log(erfcx(2 / t - 2) / t)

    return Chebyshev.interpolate(smooth, DEGREE, domain=[0, 1]).coef.tolist()


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Return x Φ(x), where Φ is the normal distribution function."""
    _require(approximate == "none", "an approximate GELU")
    size = x.abs() * 0.5**0.5
    t = 2 / (2 + size)
    u = 2 * t - 1
    latest, before = torch.zeros_like(x), torch.zeros_like(x)
    for coefficient in _complement()[:0:-1]:  # Clenshaw's recurrence
        latest, before = 2 * u * latest - before + coefficient, latest
    tail = 0.5 * t * torch.exp(u * latest - before + _complement()[0] - size * size)
    return x * torch.where(x < 0, tail, 1 - tail)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: str | Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Tensor:
    """Return x [B, n, *size] convolved with weight [m, n / groups, *kernel], step by step of 1."""
    _require({*stride, *dilation} == {1}, "a convolution with a stride or dilation")
    _require(padding == "same" or not any(map(int, padding)), "a convolution with such padding")
    kernel = weight.shape[2:]
    if padding == "same":
        ends = [side for k in reversed(kernel) for side in ((k - 1) // 2, k // 2)]
        x = functional.pad(x, ends)
    windows = x
    for axis, k in enumerate(kernel, 2):
        windows = windows.unfold(axis, k, 1)
    size = windows.shape[2 : 2 + len(kernel)]
    windows = windows.unflatten(1, (groups, -1)).movedim(2, 2 + len(kernel))
    windows = windows.flatten(2 + len(kernel)).flatten(2, 1 + len(kernel))
    weights = weight.reshape(groups, -1, weight[0].numel()).transpose(1, 2)
    result = (windows @ weights).transpose(2, 3).flatten(1, 2).unflatten(2, size)
    return result if bias is None else result + bias.reshape(-1, *[1] * len(kernel))


def adaptive_mean(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """Return means of the last axes of x over as many parts as `output_size` says."""
    axes = range(x.dim() - len(output_size), x.dim())
    for axis, parts in zip(axes, output_size, strict=True):
        n = x.shape[axis]
        bounds = [(i * n // parts, -(-(i + 1) * n // parts)) for i in range(parts)]
        x = _means(x, axis, bounds)
    return x


def mean_of_blocks(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    *_: object,
) -> Tensor:
    """Return means of the last axes of x over blocks side by side; the last may be smaller."""
    beside = list(stride or kernel_size) == list(kernel_size) and not any(padding)
    sizes = zip(x.shape[-len(kernel_size) :], kernel_size, strict=True)
    whole = all(n % size == 0 for n, size in sizes)
    _require(beside and (ceil_mode or whole), "means of blocks that overlap or leave out an end")
    for axis, size in enumerate(kernel_size, x.dim() - len(kernel_size)):
        n = x.shape[axis]
        x = _means(x, axis, [(first, min(first + size, n)) for first in range(0, n, size)])
    return x


def _require(known: bool, operation: str) -> None:
    if not known:
        raise SpinlockError(
            f"{operation} cannot be written for ONNX in float64",
            remedy="give the other formats by --format, or build the encoder without it",
        )


def _means(x: Tensor, axis: int, bounds: Sequence[tuple[int, int]]) -> Tensor:
    parts = [x.narrow(axis, first, end - first).mean(axis) for first, end in bounds]
    return torch.stack(parts, dim=axis)
