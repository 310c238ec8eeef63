"""Float32 matrix products of training, by the quicker of the libraries that torch has for a CPU."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch
from torch import Tensor

MANY_ROWS = 128  # of a batch; with fewer oneDNN takes longer
ONE_BIT_MORE = 1 + 2**-12  # than bfloat16 can hold


def quick_products(x: Tensor) -> AbstractContextManager[None]:
    """Let oneDNN take the float32 products of a batch on a CPU, as long as they stay float32.

    On processors that are not Intel's its large products are twice as fast as MKL's, which torch
    takes by default. torch offers them as precision "medium", which allows bfloat16 too: a
    processor with units for it then rounds, and there everything stays as it is.
    """
    return float32_products("medium") if go_to_onednn(x) else nullcontext()


def go_to_onednn(x: Tensor) -> bool:
    """Whether `quick_products` lets oneDNN take the products of a batch."""
    return x.device.type == "cpu" and len(x) >= MANY_ROWS and keeps_float32()


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Take float32 products as torch does at a precision, and afterwards as before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def keeps_float32() -> bool:
    """Whether products on this CPU keep all bits where torch may take fewer."""
    values = torch.full((2, 128, 128), ONE_BIT_MORE)
    one = torch.eye(128).expand_as(values)
    with float32_products("medium"):
        products = torch.bmm(values, one), (values[0] @ one[0]).expand_as(values)
    return all(torch.equal(product, values) for product in products)
