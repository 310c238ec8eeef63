"""Try each advice on tuning on simulated operators, and show what it does to its metric.

Writes docs/tuning.md. Every run is a training of the package with one setting changed. What is
measured: the model that is shipped (the best on validation rows, the start included) and the
model after the last epoch, which shows what a setting does to training itself.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy import stats

from benchmarks.data import generated_shards
from benchmarks.tables import operators
from spinlock.analysis.metrics import code_dependence
from spinlock.analysis.rows import RowsOfSplit
from spinlock.features.table import FeatureTable
from spinlock.files import write_text
from spinlock.program import limit_threads
from spinlock.results.training_files import training_inputs
from spinlock.settings import Experiment
from spinlock.stages import cluster, normalize, subset, train
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.plain_files import read_model
from spinlock.tokenizer.target_metrics import (
    code_counts,
    orthogonality,
    quality,
    topographic,
    utilization,
)
from spinlock.tokenizer.tokenizer import Tokenizer
from spinlock.training.loop import Trainer

OPERATORS = 800
EPOCHS = 30
ENCODER = {
    "encoder": "MLPEncoder",
    "encoder_params": {"hidden_dims": [32], "output_dim": 16, "activation": "gelu"},
}
MODEL = {"bits": 48, "group_embedding_dim": 16, "group_hidden_dim": 16}
TRAINING = {
    "batch_size": 128,
    "num_epochs": EPOCHS,
    "num_categories_auto": 6,
    "val_every_n_epochs": 1,
    "use_torch_compile": False,
    "dead_code_reset_interval": 0,
}
FALLING = {"learning_rate": 0.0003, "scheduler": "cosine", "early_stopping_patience": 1000}
# books too large for the rows, so that codes fall out of use
CROWDED = {"model": {"levels": [{"num_tokens": 256}, {"num_tokens": 256}, {"num_tokens": 64}]}}
CROWDED_BY_GRADIENT = {"model": CROWDED["model"] | {"use_ema": False}}
# the number of categories left to the package, and no step after the start
START_ONLY = {"training": {"num_epochs": 0, "num_categories_auto": None}}
# that number by silhouette, whatever the bits
OPEN = {
    "model": {"levels": [{}, {}, {}]},
    "training": START_ONLY["training"] | {"orthogonality_target": 0.3},
}
RESETS = {"training": {"dead_code_reset_interval": 10, "dead_code_threshold": 10.0}}


@contextmanager
def timed_epochs() -> Iterator[list[float]]:
    """Give the processor seconds of each epoch that is trained in the block."""
    seconds: list[float] = []
    run = Trainer.run

    def timed(*given: Any) -> Iterator[dict[str, Any]]:
        begun = time.process_time()
        for entry in run(*given):
            if entry["step"] == "epoch":
                seconds.append(time.process_time() - begun)
            yield entry
            begun = time.process_time()

    with patch.object(Trainer, "run", timed):
        yield seconds


@dataclass(frozen=True)
class Advice:
    """One advice: the metric that it is for, the settings before, and what it changes."""

    text: str
    metric: str
    change: dict[str, Any]
    before: dict[str, Any] = field(default_factory=dict)
    wants_more: bool = True


ADVICES = (
    Advice(
        "increase `training.num_epochs` (5 → 150, falling learning rate)",
        "quality (shipped)",
        {"training": {"num_epochs": 150}},
        {"training": {"num_epochs": 5} | FALLING},
    ),
    *(
        Advice(
            "*added by us:* `training.num_categories_auto: validation` (silhouette → "
            f"held-out R², {bits} bits; 0 epochs)",
            "quality (shipped)",
            {"training": {"num_categories_auto": "validation"}},
            START_ONLY | {"model": {"bits": bits}},
        )
        for bits in (96, 160, 288)
    ),
    Advice(
        "reduce `training.orthogonality_weight` (1.0 → 0)",
        "quality (last epoch)",
        {"training": {"orthogonality_weight": 0.0}},
        {"training": {"orthogonality_weight": 1.0}},
    ),
    Advice(
        "reduce `training.dead_code_threshold` (10 → 2)",
        "utilization (last epoch)",
        {"training": {"dead_code_threshold": 2.0}},
        CROWDED | RESETS,
    ),
    Advice(
        "decrease `training.dead_code_reset_interval` (never → 5, with `dead_code_threshold` 2)",
        "utilization (last epoch)",
        {"training": {"dead_code_reset_interval": 5, "dead_code_threshold": 2.0}},
        CROWDED,
    ),
    Advice(
        "increase `model.commitment_cost` (0.25 → 0.35)",
        "utilization (last epoch)",
        {"model": {"commitment_cost": 0.35}},
        CROWDED,
    ),
    Advice(
        "*added by us:* decrease `model.commitment_cost` (0.25 → 0.1)",
        "utilization (last epoch)",
        {"model": {"commitment_cost": 0.1}},
        CROWDED,
    ),
    Advice(
        "*the same* with `model.use_ema: false`",
        "utilization (last epoch)",
        {"model": {"commitment_cost": 0.1}},
        CROWDED_BY_GRADIENT,
    ),
    Advice(
        "increase `training.val_every_n_epochs` (1 → 10)",
        "processor seconds per epoch",
        {"training": {"val_every_n_epochs": 10}},
        wants_more=False,
    ),
    Advice(
        "use larger `training.batch_size` (128 → 512)",
        "processor seconds per epoch",
        {"training": {"batch_size": 512}},
        wants_more=False,
    ),
    Advice(
        "increase `training.orthogonality_weight` (0.1 → 1)",
        "code dependence (last epoch)",
        {"training": {"orthogonality_weight": 1.0}},
        wants_more=False,
    ),
    *(
        Advice(
            f"*added by us:* increase `training.{weight}` ({low:g} → {high:g})",
            f"{metric} (last epoch)",
            {"training": {weight: high}},
            {"training": {weight: low}},
        )
        for weight, low, high, metric in (
            ("reconstruction_weight", 0.0, 1.0, "quality"),
            ("vq_weight", 0.0, 1.0, "embeddings told by codes"),
            ("informativeness_weight", 0.0, 1.0, "quality of the coarse level"),
            ("topo_weight", 0.0, 3.0, "topographic"),
        )
    ),
    Advice(
        "extend training (5 → 30 epochs, `orthogonality_weight` 1)",
        "code dependence (last epoch)",
        {"training": {"num_epochs": EPOCHS}},
        {"training": {"num_epochs": 5, "orthogonality_weight": 1.0}},
        wants_more=False,
    ),
    Advice(
        "reduce `training.orthogonality_target` (0.3 → 0.1; 0 epochs)",
        "orthogonality",
        {"training": {"orthogonality_target": 0.1}},
        OPEN,
        wants_more=False,
    ),
)

EXPLANATION = """\
# Tuning: what each advice does

Written by `make troubleshooting` (`python -m benchmarks.troubleshooting`). {operators}
simulated operators (ARCHITECTURE and SUMMARY), {categories} categories, {bits} bits, {epochs}
epochs of {batch} rows unless said otherwise; a training before and one after each advice, all
else equal, with each of {seeds} seeds: means, and the 95 % confidence interval (Student's t) of the
mean gain. Quality is R² on test rows, of all levels or of the coarse one alone; embeddings told by
codes is the R² of the codes against what the encoders gave; utilization counts all rows, with books
too large for them (256, 256 and 64 codes).

*Shipped* is the model with the lowest validation error, **the start from data included**: a
setting that makes training worse cannot make it worse on these than its start. *Last epoch* is
the model that training ended with. Where the interval holds zero, whether the advice helps is
*unclear*. *Gain* is in the direction that is wanted. Advice is that of the tokenizer's first
description, but for what is *added by us*.
"""
NOTES = """
More epochs do not change what is shipped here: with so few rows the start from data is not
improved on. Where rows are many, [training gains](quality.md#training-and-the-number-of-rows).

The metric `orthogonality` compares the centroids of the categories' own columns, which no
training changes: `training.orthogonality_target` moves it, through the number of categories. Of
these operators that is often the same one: silhouettes choose the most categories allowed, which
are also the most orthogonal ones, or nearly.
`training.orthogonality_weight` lowers the dependence of the categories' codes, which is the
metric `code_dependence`. `training.use_torch_compile` is measured with the speed of training,
not here.

`training.num_categories_auto: validation` fits books to every number of categories up to
`training.max_clusters`: the stage `cluster` then takes minutes where it took seconds. The number
that silhouettes give is no worse here. What validation compares are books of each category alone,
without the joint decoder that comes later.

More `model.commitment_cost` does not raise utilization here, it lowers it: codes start on the
data, so that none is out of reach, and a stronger pull concentrates embeddings on the codes that
are in use already. Where utilization is low, lower it, or reset dead codes: threshold
and interval lowered together.
"""


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with some changed."""
    result = dict(base)
    for key, value in change.items():
        inner = result.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        result[key] = merged(inner, value) if both else value
    return result


class Workbench:
    """Trains experiments on one dataset in a folder, each once."""

    def __init__(self, folder: Path, seed: int):
        self._folder, self._seed = folder, seed
        folder.mkdir()
        self._measured: dict[str, dict[str, float]] = {}
        operators(generated_shards(), ("architecture", "summary"), OPERATORS).write(
            folder / "dataset.h5"
        )

    def measure(self, change: Mapping[str, Any]) -> dict[str, float]:
        """Return the metrics of a training with these settings."""
        key = json.dumps(change, sort_keys=True)
        if key not in self._measured:
            self._measured[key] = self._train(change)
        return self._measured[key]

    def _train(self, change: Mapping[str, Any]) -> dict[str, float]:
        base = {
            "dataset_path": str(self._folder / "dataset.h5"),
            "families": {"architecture": ENCODER, "summary": ENCODER},
            "model": MODEL,
            "training": TRAINING,
            "device": "cpu",
            "random_seed": self._seed,
        }
        settings = merged(base, change)
        epochs = settings["training"]["num_epochs"]
        settings = merged(settings, {"training": {"save_every": max(epochs, 1)}})
        experiment = Experiment.model_validate(settings)
        out = self._folder
        files = training_inputs(out)
        subset.run(experiment, [out / "dataset.h5"], files[0])
        normalize.run(experiment, *files[:2])
        cluster.run(experiment, *files, out / "silhouette.csv", out / "linkage.npz")
        with timed_epochs() as seconds:
            train.run(experiment, *files, out / "best_model.pt")
        shipped = self._look_at(out / "best_model.pt")
        last = out / f"checkpoint_epoch_{epochs:04d}.pt"
        ended = self._look_at(last) if epochs else shipped
        return {
            "processor seconds per epoch": float(np.mean(seconds)) if seconds else 0.0,
            "orthogonality": shipped["orthogonality"],
            **{f"{name} (shipped)": value for name, value in shipped.items()},
            **{f"{name} (last epoch)": value for name, value in ended.items()},
        }

    def _look_at(self, model: Path) -> dict[str, Any]:
        checkpoint = read_model(model, "cpu")
        tokenizer = Tokenizer(checkpoint)
        with FeatureTable(self._folder / "subset.h5") as table:
            rows = RowsOfSplit.of_table(table, tokenizer)
        x, tokens = rows.x[rows.reported], rows.tokens[rows.reported]
        mean = tokenizer.statistics.normalized_mean
        codes = tokenizer.embed(tokens).reshape(len(x), -1)
        embeddings = _embeddings(checkpoint.model, x).reshape(len(x), -1)
        return {
            "quality": quality(x, tokenizer.reconstruct(tokens), mean),
            "quality of the coarse level": quality(x, tokenizer.reconstruct(tokens, 1), mean),
            "topographic": topographic(x, codes),
            "embeddings told by codes": quality(embeddings, codes, embeddings.mean(axis=0)),
            "utilization": utilization(code_counts(rows.tokens, tokenizer.codebook_sizes)),
            "code dependence": code_dependence(tokenizer.embed(rows.tokens))["mean"],
            "orthogonality": orthogonality(x, list(tokenizer.categories.values()))["mean"],
        }


@torch.no_grad()
def _embeddings(model: TokenizerModel, x: np.ndarray) -> np.ndarray:
    """Return the embeddings [n, C, E] that the model quantises of normalised rows x [n, D]."""
    return model.encoder(torch.from_numpy(x)).numpy().swapaxes(0, 1)


def row_of(advice: Advice, workbenches: Sequence[Workbench]) -> str:
    """Return an advice with its metric before and after, as a line of a table."""
    changed = merged(advice.before, advice.change)
    before, after = (
        np.array([one.measure(settings)[advice.metric] for one in workbenches])
        for settings in (advice.before, changed)
    )
    low, high = mean_interval(after - before if advice.wants_more else before - after)
    verdict = "yes" if low > 0 else "**no**" if high < 0 else "unclear"
    return (
        f"| {advice.text} | {advice.metric} | {before.mean():.4f} | {after.mean():.4f} "
        f"| {low:+.4f} to {high:+.4f} | {verdict} |"
    )


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean of values [n], by Student's t; n ≥ 2."""
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(values.mean() - half), float(values.mean() + half)


def main(argv: Sequence[str] | None = None) -> None:
    """Try every advice, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/tuning.md"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(42, 52)))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args(argv)
    if len(arguments.seeds) < 2:
        parser.error("--seeds: two at least, or gains have no interval")
    limit_threads(arguments.threads)
    logging.basicConfig(level=logging.ERROR)
    lines = ["| advice | metric | before | after | gain | helps |", "|---|---|---|---|---|---|"]
    with TemporaryDirectory() as folder:
        workbenches = [Workbench(Path(folder) / str(seed), seed) for seed in arguments.seeds]
        for advice in ADVICES:
            lines.append(row_of(advice, workbenches))
            print(lines[-1], flush=True)
    head = EXPLANATION.format(
        operators=OPERATORS,
        categories=TRAINING["num_categories_auto"],
        bits=MODEL["bits"],
        epochs=EPOCHS,
        batch=TRAINING["batch_size"],
        seeds=len(arguments.seeds),
    )
    write_text(arguments.output, head + "\n" + "\n".join(lines) + "\n" + NOTES)


if __name__ == "__main__":
    main()
