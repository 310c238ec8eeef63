"""Convolution of few channels on a small periodic grid, compiled.

General libraries are made for wide layers: at 4 to 8 channels and 32×32 points this loop,
which keeps a row of two output channels in registers, is faster than theirs.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

TAPS = 5  # the widest kernel; narrower ones have zeros at both ends of a row


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    options: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # of an installation and a home that are both read-only: compiled anew
        return numba.njit(**options)(function)


@_compiled
def _convolve(padded: np.ndarray, kernel: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    n_rows, n_in = padded.shape[:2]
    n_out, height, width = out.shape[1:]
    n_lines = kernel.shape[2]
    for m in range(n_rows):
        for y in range(height):
            for o in range(0, n_out, 2):
                first, second = out[m, o, y], out[m, o + 1, y]
                for x in range(width):
                    first[x] = bias[o]
                    second[x] = bias[o + 1]
                for i in range(n_in):
                    for line in range(n_lines):
                        row = padded[m, i, y + line]
                        p, q = kernel[o, i, line], kernel[o + 1, i, line]
                        p0, p1, p2, p3, p4 = p[0], p[1], p[2], p[3], p[4]
                        q0, q1, q2, q3, q4 = q[0], q[1], q[2], q[3], q[4]
                        for x in range(width):
                            r0, r1, r2, r3, r4 = (
                                row[x],
                                row[x + 1],
                                row[x + 2],
                                row[x + 3],
                                row[x + 4],
                            )
                            first[x] += p0 * r0 + p1 * r1 + p2 * r2 + p3 * r3 + p4 * r4
                            second[x] += q0 * r0 + q1 * r1 + q2 * r2 + q3 * r3 + q4 * r4


class PeriodicConvolution:
    """A convolution [n_out, n_in, k, k] with bias [n_out] on periodic fields, k = 3 or 5."""

    def __init__(self, kernel: np.ndarray, bias: np.ndarray):
        n_out, n_in, size, _ = kernel.shape
        even = n_out + n_out % 2
        side = (TAPS - size) // 2
        self._n_out = n_out
        self._lines = size // 2
        self._kernel = np.zeros((even, n_in, size, TAPS), np.float32)
        self._kernel[:n_out, :, :, side : TAPS - side] = kernel
        self._bias = np.zeros(even, np.float32)
        self._bias[:n_out] = bias

    def __call__(self, u: np.ndarray) -> np.ndarray:
        """Return the convolution [M, n_out, G, G] of fields u [M, n_in, G, G]."""
        out = np.empty((len(u), len(self._bias), *u.shape[2:]), np.float32)
        _convolve(wrap(u, self._lines, TAPS // 2), self._kernel, self._bias, out)
        return out[:, : self._n_out]


def wrap(u: np.ndarray, lines: int, columns: int) -> np.ndarray:
    """Pad periodic fields [M, C, H, W] by `lines` above and below and `columns` at the sides."""
    m, c, height, width = u.shape
    padded = np.empty((m, c, height + 2 * lines, width + 2 * columns), u.dtype)
    inner = padded[:, :, lines : lines + height]
    inner[..., columns : columns + width] = u
    inner[..., :columns] = u[..., width - columns :]
    inner[..., columns + width :] = u[..., :columns]
    padded[:, :, :lines] = inner[:, :, height - lines :]
    padded[:, :, lines + height :] = inner[:, :, :lines]
    return padded
