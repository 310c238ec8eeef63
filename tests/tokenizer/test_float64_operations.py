"""The operations that runtimes lack, against those of torch in float64."""

import pytest
import torch
from torch.nn import functional

from spinlock.errors import SpinlockError
from spinlock.tokenizer.float64_operations import (
    adaptive_mean,
    convolve,
    gelu,
    mean_of_blocks,
    with_float64_operations,
)
from spinlock.tokenizer.network.field_encoders import FieldReader


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-13, atol=1e-13)


def test_gelu():
    x = torch.linspace(-40, 40, 20001, dtype=torch.float64)
    close(gelu(x), functional.gelu(x))


@pytest.mark.parametrize("kernel", [1, 2, 5])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_convolution_over_time_in_groups(kernel, groups):
    x, weight, bias = values(4, 6, 9), values(12, 6 // groups, kernel, seed=1), values(12, seed=2)
    options = {"padding": "same", "groups": groups}
    close(convolve(x, weight, bias, **options), functional.conv1d(x, weight, bias, **options))


def test_convolution_over_a_field():
    x, weight = values(2, 3, 8, 7), values(5, 3, 3, 2, seed=1)
    close(convolve(x, weight), functional.conv2d(x, weight))


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_adaptive_means(parts):
    series, fields = values(2, 3, 10), values(2, 3, 9, 7)
    close(adaptive_mean(series, (parts,)), functional.adaptive_avg_pool1d(series, parts))
    close(adaptive_mean(fields, (parts, 2)), functional.adaptive_avg_pool2d(fields, (parts, 2)))


def test_means_of_blocks_with_a_smaller_last_one():
    x = values(2, 3, 9, 8)
    ours = mean_of_blocks(x, (2, 3), ceil_mode=True)
    close(ours, functional.avg_pool2d(x, (2, 3), ceil_mode=True))


@pytest.mark.parametrize(
    "unknown",
    [
        lambda: gelu(values(3), "tanh"),
        lambda: convolve(values(2, 3, 9), values(5, 3, 3), stride=(2,)),
        lambda: convolve(values(2, 3, 9), values(5, 3, 3), dilation=(2,)),
        lambda: convolve(values(2, 3, 9), values(5, 3, 3), padding=(1,)),
        lambda: mean_of_blocks(values(2, 3, 9, 8), (2, 2), (1, 1)),
        lambda: mean_of_blocks(values(2, 3, 9, 8), (2, 2), (2, 2), (0, 0), False),
    ],
)
def test_what_is_not_known_is_refused_and_not_made_something_else(unknown):
    with pytest.raises(SpinlockError, match="ONNX"):
        unknown()


@pytest.mark.filterwarnings("ignore:`isinstance.treespec:FutureWarning")  # within torch
def test_a_graph_of_convolutions_computes_the_same_by_them():
    params = {"channels": [3, 4], "kernel_size": 3, "activation": "gelu"}
    reader = FieldReader(2, params).double().eval().requires_grad_(False)
    fields = values(4, 2, 11, 11)
    rows = torch.export.Dim("rows")
    graph = torch.export.export(reader, (fields,), dynamic_shapes=({0: rows},))
    replaced = with_float64_operations(graph)
    named = {str(node.target) for node in replaced.graph.nodes}
    assert not [name for name in named if "conv" in name or "pool" in name or "gelu" in name]
    fields = values(7, 2, 11, 11, seed=1)
    close(replaced.module()(fields), reader(fields))
