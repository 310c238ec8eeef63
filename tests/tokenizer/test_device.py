"""Which device a name is, and what is told where it is not there."""

import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.tokenizer.device import choose_device


def present(monkeypatch, cuda: int = 0) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)


@pytest.mark.parametrize(("cuda", "device"), [(0, "cpu"), (1, "cuda")])
def test_auto_takes_the_best_device_there_is(monkeypatch, cuda, device):
    present(monkeypatch, cuda)
    assert choose_device("auto") == torch.device(device)


def test_a_device_that_is_there_is_taken(monkeypatch):
    present(monkeypatch, cuda=2)
    for wanted in ("cpu", "cuda", "cuda:1"):
        assert choose_device(wanted) == torch.device(wanted)


@pytest.mark.parametrize(("cuda", "wanted"), [(0, "cuda"), (2, "cuda:2")])
def test_a_device_that_is_not_there_is_an_error(monkeypatch, cuda, wanted):
    present(monkeypatch, cuda)
    with pytest.raises(SpinlockError, match=wanted):
        choose_device(wanted)


@pytest.mark.parametrize("wanted", ["foo", "", "cuda:", "cuda:-1", "meta", "mps", "xla", None])
def test_what_is_no_device_is_an_error_that_names_those_there_are(wanted):
    with pytest.raises(SpinlockError, match=f"{str(wanted)!r} is not known") as caught:
        choose_device(wanted)
    assert "auto, cpu, cuda or cuda:N" in caught.value.remedy
