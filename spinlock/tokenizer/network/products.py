"""How precise and how quick float32 products are."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.backends import cuda, cudnn, mkldnn

MANY_ROWS = 128  # of a batch; with fewer oneDNN takes longer
ONE_BIT_MORE = 1 + 2**-12  # than bfloat16 can hold
ONEDNN = mkldnn.matmul
SETTINGS = (ONEDNN, cuda.matmul, cudnn.conv, mkldnn.conv)


def quick_products(x: Tensor) -> AbstractContextManager[None]:
    """Let oneDNN take the float32 products of a batch on a CPU, as long as they stay float32.

    On processors that are not Intel's its large products are twice as fast as MKL's, which torch
    takes by default. torch offers them as precision "bf16", which allows bfloat16 too: a
    processor with units for it then rounds, and there everything stays as it is.
    """
    return precision("bf16", ONEDNN) if go_to_onednn(x) else nullcontext()


def full_float32() -> AbstractContextManager[None]:
    """Keep all bits of float32 in products and convolutions, whatever torch was told.

    It rounds those of cuDNN to TF32 unless told otherwise. What it was told holds for all threads:
    the first to come in changes it, the last to leave puts it back.
    """
    return _FULL_FLOAT32


def go_to_onednn(x: Tensor) -> bool:
    """Whether `quick_products` lets oneDNN take the products of a batch."""
    return x.device.type == "cpu" and len(x) >= MANY_ROWS and keeps_float32()


@contextmanager
def precision(name: str, *settings: Any) -> Iterator[None]:
    """Set precisions of float32 arithmetic in torch, and afterwards as before."""
    before = [one.fp32_precision for one in settings]
    try:
        for one in settings:
            one.fp32_precision = name
        yield
    finally:
        for one, kept in zip(settings, before, strict=True):
            one.fp32_precision = kept


class _Shared(AbstractContextManager[None]):
    """A context that threads are in together.

    Parameters
    ----------
    make : callable
        Returns the context, which the first to come in enters and the last to leave exits.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[None]]):
        self._make = make
        self._lock = Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._context = self._make()
                self._context.__enter__()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._context.__exit__(None, None, None)


_FULL_FLOAT32 = _Shared(lambda: precision("ieee", *SETTINGS))


@cache
def keeps_float32() -> bool:
    """Whether products on this CPU keep all bits where torch may take fewer."""
    values = torch.full((2, 128, 128), ONE_BIT_MORE)
    one = torch.eye(128).expand_as(values)
    with precision("bf16", ONEDNN):
        products = torch.bmm(values, one), (values[0] @ one[0]).expand_as(values)
    return all(torch.equal(product, values) for product in products)
