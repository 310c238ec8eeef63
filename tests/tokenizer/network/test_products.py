from contextlib import ExitStack

import pytest
import torch
from torch import Tensor

from spinlock.tokenizer.network import products
from spinlock.tokenizer.network.products import (
    MANY_ROWS,
    ONEDNN,
    full_float32,
    precision,
    quick_products,
)

BATCH = torch.zeros(MANY_ROWS, 2)


@pytest.fixture
def keeps_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "keeps_float32", lambda: True)


def precision_inside(x: Tensor) -> str:
    with quick_products(x):
        return ONEDNN.fp32_precision


def test_products_have_the_error_of_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator) for shape in ((300, 200), (200, 100)))
    exact = a.double() @ b.double()
    with quick_products(a):
        error = (a @ b - exact).abs().max()
    assert error < 16 * torch.finfo(torch.float32).eps * (a.abs() @ b.abs()).max()


@pytest.mark.usefixtures("keeps_float32")
def test_batches_of_many_rows_take_the_quicker_products() -> None:
    assert precision_inside(BATCH) == "bf16"
    assert ONEDNN.fp32_precision == "none"


@pytest.mark.usefixtures("keeps_float32")
def test_small_batches_and_gpus_stay_as_they_are() -> None:
    assert precision_inside(BATCH[1:]) == "none"
    assert precision_inside(BATCH.to("meta")) == "none"


def test_processor_that_would_round_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "keeps_float32", lambda: False)
    assert precision_inside(BATCH) == "none"


def test_precision_comes_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="lost"), precision("bf16", ONEDNN):
        raise ValueError("lost")
    assert ONEDNN.fp32_precision == "none"


@pytest.mark.parametrize("asked", ["high", "medium"])
def test_full_float32_overrules_what_torch_was_told(asked: str) -> None:
    with precision("none", *products.SETTINGS):
        torch.set_float32_matmul_precision(asked)
        before = [one.fp32_precision for one in products.SETTINGS]
        assert "tf32" in before
        with full_float32():
            assert {one.fp32_precision for one in products.SETTINGS} == {"ieee"}
        assert [one.fp32_precision for one in products.SETTINGS] == before


def test_full_float32_lasts_until_the_last_thread_leaves() -> None:
    def precisions() -> set[str]:
        return {one.fp32_precision for one in products.SETTINGS}

    with precision("none", *products.SETTINGS):
        first, second = ExitStack(), ExitStack()
        first.enter_context(full_float32())
        second.enter_context(full_float32())
        first.close()  # the one that came in first leaves first, as threads may
        assert precisions() == {"ieee"}
        second.close()
        assert precisions() == {"none"}


@pytest.mark.parametrize("batched", [True, False])
def test_rounding_to_bfloat16_is_seen(monkeypatch: pytest.MonkeyPatch, *, batched: bool) -> None:
    def rounded(a: Tensor, b: Tensor) -> Tensor:
        return torch.einsum("...ij,...jk->...ik", a.bfloat16().float(), b.bfloat16().float())

    owner, name = (torch, "bmm") if batched else (Tensor, "__matmul__")
    monkeypatch.setattr(owner, name, rounded)
    assert not products.keeps_float32.__wrapped__()
    assert ONEDNN.fp32_precision == "none"
