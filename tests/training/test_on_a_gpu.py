"""The start, training and tokens on a GPU that is not there.

Its tensors say that they are on a GPU and compute on the CPU. What mixes them with tensors of the
CPU, or asks for their memory, fails as it does on a GPU; how fast or how exact one is, they do not
say. `torch.autocast` is off without a GPU: bfloat16 has tests of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
import torch._dynamo
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.model import start_model
from spinlock.tokenizer.start.validation import row_errors
from spinlock.training.loop import Trainer
from spinlock.training.refinement import refine
from spinlock.training.summary import summary_metrics

GPU = torch.device("cuda", 0)
MOVES = ("aten::_to_copy", "aten::copy_")
TAKE_OTHER_INDICES = ("aten::index", "aten::_index_put")  # of the CPU, as GPUs do


class OnGpu(Tensor):
    """A tensor that says it is on a GPU; `held` has its numbers, on the CPU."""

    held: Tensor
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",  # of which gradients need no driver
        )
        made.held = held
        return made

    def tolist(self):
        return self.held.tolist()

    def __getitem__(self, index):
        return super().__getitem__(without_lists(index))

    def __setitem__(self, index, value):
        super().__setitem__(without_lists(index), value)

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), named=None):
        return computed(function, arguments, named or {})


def without_lists(index):
    """Return an index with tensors for lists, which torch would put on the GPU unseen."""
    if isinstance(index, tuple):
        return tuple(map(without_lists, index))
    return torch.tensor(index) if isinstance(index, list) else index


def bare(value):
    return value.held if isinstance(value, OnGpu) else value


def computed(function, arguments, named):
    """Compute on the CPU; the result is on the GPU where an operand is, or where it is wanted."""
    tensors = [one for one in tree_flatten((arguments, named))[0] if isinstance(one, Tensor)]
    ours = {id(one.held): one for one in tensors if isinstance(one, OnGpu)}
    others = [one for one in tensors if not isinstance(one, OnGpu) and one.dim()]
    name, wanted = function.name(), named.get("device")
    if ours and others and not name.startswith((*MOVES, *TAKE_OTHER_INDICES)):
        raise RuntimeError(f"{name} was given tensors on the CPU and on the GPU")
    on_gpu = bool(ours)
    if wanted is not None:
        on_gpu = torch.device(wanted).type != "cpu"
        named = named | {"device": torch.device("cpu")}
    elif name.startswith("aten::copy_"):
        on_gpu = isinstance(arguments[0], OnGpu)
    result = function(*tree_map(bare, arguments), **tree_map(bare, named))

    def placed(value):
        if not isinstance(value, Tensor):
            return value
        if id(value) in ours:  # changed in place
            return ours[id(value)]
        return OnGpu(value) if on_gpu else value

    return tree_map(placed, result)


class Computed(TorchDispatchMode):
    """Also what no tensor on the GPU is given to, but makes one."""

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        return computed(function, arguments, named or {})


class ByRows(TorchFunctionMode):
    """Multiplies a vector as a row: torch changes the shape of such a product in place."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        if function in (Tensor.matmul, Tensor.__matmul__) and arguments[0].dim() == 1:
            first, second = arguments
            return (first * second).sum() if second.dim() == 1 else (first[None] @ second)[0]
        return function(*arguments, **(named or {}))


class CpuGenerator(torch.Generator):
    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")


@contextmanager
def pretended_gpu() -> Iterator[None]:
    with (
        mock.patch.object(torch, "Generator", CpuGenerator),
        mock.patch.object(torch.cuda, "_lazy_init", return_value=None),
        Computed(),
        ByRows(),
    ):
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            yield
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
            torch.__future__.set_overwrite_module_params_on_conversion(False)


@pytest.fixture
def on_gpu(train, validation, monkeypatch):
    """A few rows of training and validation, with fields, on the GPU."""
    monkeypatch.setattr("spinlock.tokenizer.start.cross_fitting.TIMES", 1)  # it takes long
    with pretended_gpu():
        yield [
            Rows(rows.x[:40].to(GPU), torch.randn(40, 2, 4, 4).to(GPU))
            for rows in (train, validation)
        ]


def test_tensors_of_the_cpu_and_the_gpu_do_not_mix(on_gpu):
    x = on_gpu[0].x
    assert x.is_cuda
    assert x.device == (x @ x.T).device == GPU
    assert not x.cpu().is_cuda
    with pytest.raises(RuntimeError, match="on the CPU and on the GPU"):
        x @ torch.ones(6, 6)
    with pytest.raises(RuntimeError, match="not supported"):
        x.numpy()


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_the_start_is_that_of_the_cpu(on_gpu, make_request):
    model = start_model(make_request(), *(Rows(rows.x) for rows in on_gpu))
    assert all(one.is_cuda for one in (*model.parameters(), *model.buffers()))
    of_cpu = [Rows(rows.x.cpu()) for rows in on_gpu]
    expected = start_model(make_request(), *of_cpu)
    assert torch.equal(model.quantizer.all_codes.cpu(), expected.quantizer.all_codes)
    assert torch.equal(model.tokenize(on_gpu[1]).cpu(), expected.tokenize(of_cpu[1]))


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize(
    ("encoder", "parameters", "use_ema"),
    [
        ("MLPEncoder", {"hidden_dims": [6], "output_dim": 4}, True),
        ("InitialHybridEncoder", {"channels": [2], "hidden_dims": [5], "output_dim": 3}, False),
    ],
)
def test_a_training_runs_to_its_end_and_goes_on(
    on_gpu, make_request, make_plan, encoder, parameters, use_ema
):
    params = ENCODER_PARAMS[encoder](**parameters).model_dump()
    request = make_request(
        encoders={"summary": {"encoder": encoder, "encoder_params": params}},
        field_channels=2,
        use_ema=use_ema,
    )
    plan = make_plan(num_epochs=2, dead_code_reset_interval=1, eval_interval=2, log_interval=1)
    model = start_model(request, *on_gpu)
    trainer = Trainer(model, *on_gpu, plan)
    assert [entry["epoch"] for entry in trainer.run()] == [0, 1, 2]
    assert all(one.is_cuda for one in (*model.parameters(), *model.buffers()))
    longer = Trainer(model, *on_gpu, make_plan(num_epochs=3))
    longer.load_state_dict(trainer.state_dict())
    assert [entry["epoch"] for entry in longer.run()] == [3]
    before = row_errors(model, on_gpu[1]).mean()
    refine(model, *on_gpu, seed=0)
    assert bool(row_errors(model, on_gpu[1]).mean() <= before)
    partition = [np.array(members) for members in model.shape.partition]
    assert summary_metrics(model, on_gpu[1], trainer.train_mean, partition)["quality"] > 0.5
