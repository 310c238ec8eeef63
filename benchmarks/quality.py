"""Quality of the tokens at equal bits, beside other quantisers of the same rows.

Every table goes through the stages of the package; the others get the same normalised train
rows and at least as many bits. Writes quality.json, which keeps what other runs measured, and
quality.md.
"""

import argparse
import json
import logging
import math
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.quality_figure import quality_figure
from benchmarks.quality_page import CURVE, PEER_BEAM, page
from benchmarks.tables import FOREIGN_FILE, SIDES, RawTable, known_tables
from spinlock.analysis.baselines import compare_baselines
from spinlock.analysis.figures.style import render
from spinlock.analysis.rows import RowsOfSplit
from spinlock.errors import SpinlockError
from spinlock.features.split import TRAIN
from spinlock.features.table import FeatureTable
from spinlock.files import write_json, write_text
from spinlock.program import limit_threads
from spinlock.results.training_files import training_inputs
from spinlock.settings import Experiment
from spinlock.stages import cluster, normalize, subset, train
from spinlock.tokenizer.target_metrics import (
    code_counts,
    orthogonality,
    quality,
    topographic,
    utilization,
)
from spinlock.tokenizer.tokenizer import Tokenizer

BITS = (24, 48, 96, 160, 288, 400)
TRAINED_BITS = (96, 160, 288)
GRADIENT_STEPS = 280  # of each training, whatever the number of rows
SEEDS = 1
BATCH_ROWS = 512
ENCODER = {
    "encoder": "MLPEncoder",
    "encoder_params": {"hidden_dims": [64], "output_dim": 32, "activation": "gelu"},
}

log = logging.getLogger("quality")


def experiment_of(table: RawTable, dataset: Path, bits: int, epochs: int, seed: int) -> Experiment:
    """Return the settings of a run: defaults, but for the bits and the length of training."""
    training = {
        "num_epochs": epochs,
        "learning_rate": 0.0003,
        "scheduler": "cosine",
        "val_every_n_epochs": max(1, epochs // 20),
        "use_torch_compile": False,
    }
    return Experiment.model_validate(
        {
            "dataset_path": str(dataset),
            "families": dict.fromkeys(table.families, ENCODER),
            "split": {} if table.sides is None else {"column": SIDES},
            "model": {"bits": bits},
            "training": training,
            "device": "cpu",
            "random_seed": seed,
        }
    )


def measure_table(
    table: RawTable,
    seed: int,
    budgets: Sequence[int],
    trained: Sequence[int],
    steps: Sequence[int] = (GRADIENT_STEPS,),
) -> dict[str, Any]:
    """Return what one table and seed give: rows, columns, and R² by method and bits.

    At the budgets in `trained` a model is also trained, for each number of gradient steps.
    """
    with TemporaryDirectory() as folder:
        out = Path(folder)
        dataset = out / "dataset.h5"
        table.write(dataset)
        first = experiment_of(table, dataset, budgets[0], 0, seed)
        subset.run(first, [dataset], out / "subset.h5")
        normalize.run(first, out / "subset.h5", out / "feature_statistics.npz")
        with FeatureTable(out / "subset.h5") as rows:
            n_train = len(rows.rows(TRAIN))
        epochs = {n: math.ceil(n / math.ceil(n_train / BATCH_ROWS)) for n in steps}
        ours = []
        for bits in budgets:
            start = time.perf_counter()
            model = _train(experiment_of(table, dataset, bits, 0, seed), out, recluster=True)
            measured, rows_of = _measure(model, out)
            measured |= {
                "budget": bits,
                "start_seconds": time.perf_counter() - start,
                "measured_on": date.today().isoformat(),
            }
            if bits in trained:
                measured["trained"] = {}
                for n_steps, n_epochs in epochs.items():
                    model = _train(experiment_of(table, dataset, bits, n_epochs, seed), out)
                    measured["trained"][str(n_steps)] = _measure(model, out)[0]["quality"]
            ours.append(measured)
            log.info("%s", measured)
    train_rows, test_rows = rows_of.x[rows_of.of(TRAIN)], rows_of.x[rows_of.reported]
    wanted = sorted({*map(float, budgets), *(one["bits"] for one in ours)})
    others = compare_baselines(train_rows, test_rows, wanted, PEER_BEAM)
    return {
        "seed": seed,
        "train_rows": len(train_rows),
        "test_rows": len(test_rows),
        "columns": train_rows.shape[1],
        "ours": ours,
        "others": [vars(one) | {"beam": PEER_BEAM} for one in others if one.quality is not None],
    }


def _train(experiment: Experiment, out: Path, *, recluster: bool = False) -> Path:
    files = training_inputs(out)
    if recluster:
        cluster.run(experiment, *files, out / "silhouette.csv", out / "linkage.npz")
    train.run(experiment, *files, out / "best_model.pt")
    return out / "best_model.pt"


def _measure(model: Path, out: Path) -> tuple[dict[str, Any], RowsOfSplit]:
    tokenizer = Tokenizer.load(model)
    with FeatureTable(out / "subset.h5") as table:
        rows = RowsOfSplit.of_table(table, tokenizer)
    x, tokens = rows.x[rows.reported], rows.tokens[rows.reported]
    partition = list(tokenizer.categories.values())
    counts = code_counts(rows.tokens, tokenizer.codebook_sizes)
    codes = tokenizer.embed(tokens).reshape(len(tokens), -1)
    return {
        "bits": tokenizer.bits,
        "categories": len(partition),
        "quality": quality(x, tokenizer.reconstruct(tokens), tokenizer.statistics.normalized_mean),
        "utilization": utilization(counts),
        "orthogonality": orthogonality(x, partition)["mean"],
        "topographic": topographic(x, codes),
    }, rows


def read_results(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return table → runs that earlier runs of this program wrote; none where there are none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def replaced(runs: Sequence[dict[str, Any]], run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return runs in the order of their seeds, with what `run` measured in the place of its own.

    Of an earlier run of the same seed and as many rows, budgets that `run` leaves out stay.
    """
    kept = [one for one in runs if one["seed"] != run["seed"]]
    for before in runs:
        if before["seed"] == run["seed"] and before["train_rows"] == run["train_rows"]:
            ours = {one["budget"]: one for one in [*before["ours"], *run["ours"]]}
            others = {(one["method"], one["bits"]): one for one in before["others"] + run["others"]}
            run = run | {
                "ours": [ours[budget] for budget in sorted(ours)],
                "others": list(others.values()),
            }
    return sorted([*kept, run], key=lambda one: one["seed"])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the tables that are asked for, and write after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs"))
    parser.add_argument("--tables", nargs="*", help="names of tables (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)))
    parser.add_argument("--bits", type=int, nargs="+", default=list(BITS))
    parser.add_argument("--trained-bits", type=int, nargs="*", default=list(TRAINED_BITS))
    parser.add_argument("--gradient-steps", type=int, nargs="+", default=[GRADIENT_STEPS])
    parser.add_argument("--foreign", type=Path, default=FOREIGN_FILE, help="a foreign dataset")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args(argv)
    limit_threads(arguments.threads)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    tables = known_tables(arguments.foreign)
    for name in arguments.tables or list(tables):
        for seed in arguments.seeds:
            log.info("%s, seed %d", name, seed)
            try:
                table = tables[name](seed)
            except SpinlockError as error:
                log.warning("%s is left out: %s", name, error)
                break
            run = measure_table(
                table, seed, arguments.bits, arguments.trained_bits, arguments.gradient_steps
            )
            results = read_results(arguments.output / "quality.json")
            results[name] = replaced(results.get(name, []), run)
            ordered = {one: results[one] for one in [*tables, *results] if one in results}
            _write(ordered, arguments.output)


def _write(results: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    write_json(folder / "quality.json", results, indent=1)
    write_text(folder / "quality.md", page(results))
    if CURVE in results:
        drawn = render(quality_figure(results[CURVE]), "svg")
        write_text(folder / "images" / "quality.svg", drawn.decode())


if __name__ == "__main__":
    main()
