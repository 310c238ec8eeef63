"""Epochs of training beside the model as usually written, and beside a library's."""

import dataclasses
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import library_model
from benchmarks.contenders import Contender, NaiveLoop, Ours, PlainLoop
from benchmarks.data import Table, operator_table
from benchmarks.measurement import (
    Result,
    Settings,
    compared,
    installed,
    interleaved,
    sgemm_rate,
    typical,
)
from benchmarks.naive_model import NaiveModel
from spinlock.settings import Experiment
from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.products import go_to_onednn
from spinlock.tokenizer.start.book_sizes import BookRequest
from spinlock.tokenizer.start.model import ModelRequest, start_model
from spinlock.training.loop import TrainingPlan
from spinlock.training.requests import training_plan

CATEGORIES, BOOKS = 10, (128, 64, 32)
BATCH_SIZES = (512, 32)
ROUNDS = {512: 7, 32: 3}
ENCODER = ENCODER_PARAMS["MLPEncoder"](
    hidden_dims=[64], output_dim=32, dropout=0.1, activation="gelu", batch_norm=True
).model_dump()


def measure(settings: Settings) -> dict[str, Result]:
    """Train all contenders on the same rows, epoch by epoch in turn."""
    table = operator_table(400 if settings.quick else 4000)
    model = starting_model(table, 3 if settings.quick else CATEGORIES)
    results: dict[str, Result] = {}
    for batch_size in BATCH_SIZES:
        results |= _measure_batch_size(table, model, batch_size, settings)
    return results


def plan_of_defaults(batch_size: int) -> TrainingPlan:
    """Return the plan of default settings, but for what would make epochs differ."""
    training = {
        "num_epochs": 1,
        "batch_size": batch_size,
        "learning_rate": 3e-4,
        "dead_code_reset_interval": 0,
        "val_every_n_epochs": 1,
        "use_torch_compile": False,
    }
    settings = {
        "dataset_path": "none.h5",
        "families": {"summary": {}},
        "training": training,
        "logging": {"log_interval": 10**9, "eval_interval": None},
        "random_seed": 0,
    }
    return training_plan(Experiment.model_validate(settings))


def starting_model(table: Table, categories: int) -> TokenizerModel:
    """Return a model before end-to-end training."""
    partition = table.categories(categories)
    shape = ModelShape(
        partition=partition,
        book_sizes=[],
        column_family=table.column_family,
        encoders={
            family: {"encoder": "MLPEncoder", "encoder_params": ENCODER}
            for family in sorted(set(table.column_family))
        },
    )
    books = BookRequest(explicit=[[(None, k) for k in BOOKS]] * len(partition))
    plan = plan_of_defaults(512)
    request = ModelRequest(shape, books, plan.batch_size, plan.seed)
    return start_model(request, table.train, table.validation)


def _contenders(
    table: Table, model: TokenizerModel, batch_size: int, settings: Settings
) -> dict[str, Contender]:
    plan, shape = plan_of_defaults(batch_size), model.shape
    sides = (table.train, table.validation)

    def ours(plan: TrainingPlan) -> Ours:
        return Ours(_copy(model), *sides, plan)

    def naive() -> NaiveLoop:
        return NaiveLoop(NaiveModel(shape, plan.weights), *sides, plan)

    contenders: dict[str, Contender] = {"ours": ours(plan), "naive": naive()}
    if library_model.AVAILABLE:
        contenders["library"] = PlainLoop(_library(shape, plan), *sides, plan)
    if not settings.quick:
        contenders["compiled"] = ours(dataclasses.replace(plan, compile=True))
    return contenders


def _copy(model: TokenizerModel) -> TokenizerModel:
    copied = TokenizerModel(model.shape)
    copied.load_weights(model.state_dict())
    return copied


def _library(shape: ModelShape, plan: TrainingPlan) -> nn.Module:
    return library_model.LibraryModel(shape, plan.weights)


def _measure_batch_size(
    table: Table, model: TokenizerModel, batch_size: int, settings: Settings
) -> dict[str, Result]:
    contenders = _contenders(table, model, batch_size, settings)
    first = {name: _first_epoch(contender) for name, contender in contenders.items()}
    epochs = interleaved(
        {name: one.epoch for name, one in contenders.items()},
        1 if settings.quick else ROUNDS[batch_size],
    )
    rows = len(table.train)
    conditions = (
        f"{table.description}, {rows} train rows, batch {batch_size}, {len(model.shape.partition)} "
        f"categories × {model.n_levels} levels of {BOOKS} codes; "
        f"{_products(table.train.x[:batch_size])}; an epoch with its validation"
    )
    results = _epoch_results(epochs, conditions, batch_size)
    if "compiled" in contenders:
        results[f"training_compilation_batch_{batch_size}"] = _compilation(
            first["compiled"], epochs, rows // batch_size, conditions
        )
    results |= _loss_results(contenders, conditions, batch_size)
    if batch_size == max(BATCH_SIZES):
        results["training_flops"] = _arithmetic(contenders["ours"].train, conditions)
    return results


def _first_epoch(contender: Contender) -> float:
    """Return the seconds of what is done once: imports, compilation, codes from data."""
    start = time.perf_counter()
    with torch.compiler.config.patch(force_disable_caches=True):
        contender.epoch()
    return time.perf_counter() - start


def _compilation(
    seconds: float, epochs: Mapping[str, list[float]], batches: int, conditions: str
) -> Result:
    """Return what compilation takes beside what it saves in a thousand batches."""
    saved = (typical(epochs["ours"]) - typical(epochs["compiled"])) / batches * 1000
    return Result(
        seconds - typical(epochs["compiled"]),
        saved,
        "s",
        f"{conditions}; compilation, once, with empty caches; reference: what it saves in 1,000 "
        "batches",
    )


def _products(batch: Tensor) -> str:
    """Return which library ours takes large products by; all of the references are MKL's.

    With all products by oneDNN the references take longer than they do.
    """
    return f"large products of ours by {'oneDNN' if go_to_onednn(batch) else 'MKL'}, in float32"


def _epoch_results(
    epochs: Mapping[str, list[float]], conditions: str, batch_size: int
) -> dict[str, Result]:
    described = {
        "naive": "one module per category and level",
        "library": "ResidualVQ of vector-quantize-pytorch "
        f"{installed('vector-quantize-pytorch')}, one per category",
    }
    results = {
        f"training_vs_{name}_batch_{batch_size}{suffix}": compared(
            epochs,
            name,
            ours=ours,
            per=1,
            unit="s/epoch",
            conditions=f"{conditions}{told}; reference: {text}",
        )
        for ours, suffix, told in (
            ("ours", "", ", without torch.compile"),
            ("compiled", "_compiled", ", with torch.compile, as the settings have it by default"),
        )
        for name, text in described.items()
        if {ours, name} <= epochs.keys()
    }
    if "compiled" in epochs:
        results[f"training_compiled_batch_{batch_size}"] = compared(
            epochs,
            "ours",
            ours="compiled",
            per=1,
            unit="s/epoch",
            conditions=f"{conditions}; ours with torch.compile, reference: ours without",
        )
    return results


def _loss_results(
    contenders: Mapping[str, Contender], conditions: str, batch_size: int
) -> dict[str, Result]:
    return {
        f"validation_loss_vs_{name}_batch_{batch_size}": Result(
            contenders["ours"].val_loss,
            contenders[name].val_loss,
            "mean squared error",
            f"{conditions}; after the same number of epochs",
        )
        for name in ("naive", "library")
        if name in contenders
    }


def _arithmetic(train: Callable[[], None], conditions: str) -> Result:
    """Return the rate of the matrix products of a step over that of one large product."""
    with FlopCounterMode(display=False) as counter:
        train()
    seconds = interleaved({"ours": train}, 5)["ours"]
    return Result(
        counter.get_total_flops() / typical(seconds) / 1e9,
        sgemm_rate() / 1e9,
        "GFLOP/s",
        f"{conditions}; here without it; matrix products only; reference: a large float32 "
        "product by the quicker library",
        higher_is_better=True,
    )
