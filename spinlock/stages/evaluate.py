"""evaluate: measure a model on rows that took no part in any fit, beside its baselines.

Reads best_model.pt and subset.h5; writes metrics.json and baselines.csv.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from spinlock.analysis.comparison import baselines_of_subset, by_method, probe_label, rows_to_fit
from spinlock.analysis.doubts import tell_doubts
from spinlock.analysis.evaluation import LESS_MEMORY, measure
from spinlock.analysis.rows import RowsOfSplit
from spinlock.errors import memory_for
from spinlock.features.table import FeatureTable
from spinlock.files import write_json
from spinlock.program import execute, experiment_of, stage_parser
from spinlock.results.evaluation_files import write_baselines
from spinlock.results.model_settings import require_own_model
from spinlock.results.training_files import require_own_subset
from spinlock.settings import Experiment
from spinlock.tokenizer.tokenizer import Tokenizer

log = logging.getLogger(__name__)


@memory_for("evaluate", LESS_MEMORY)
def run(
    config: Path | Experiment, model: Path, subset: Path, metrics: Path, baselines: Path
) -> None:
    """Measure a model and write what was measured."""
    experiment = experiment_of(config)
    settings = experiment.evaluation
    tokenizer = Tokenizer.load(model)
    require_own_model(experiment, tokenizer.config, model)
    fits = settings.baselines or settings.probe_column is not None
    with FeatureTable(subset) as table:
        require_own_subset(table, tokenizer.provenance)
        fitted = rows_to_fit(table, tokenizer, settings.memory_budget) if fits else np.empty(0, int)
        # before all rows are held, since faiss takes much memory for a while
        compared = baselines_of_subset(table, tokenizer, fitted) if settings.baselines else []
        rows = RowsOfSplit.of_table(table, tokenizer)
        labels = table.labels(settings.probe_column) if settings.probe_column else None
    measured = measure(tokenizer, rows, settings.max_pair_rows)
    tell_doubts(measured, rows, subset)
    if fits:
        measured["rows"] |= {"baselines_of": len(fitted)}
    measured |= {
        "baselines": by_method(compared),
        "probe": None
        if labels is None
        else {"column": settings.probe_column} | probe_label(tokenizer, rows, labels, fitted),
        "model_digest": tokenizer.digest,
        "dataset_digest": tokenizer.source_digest,
    }
    write_json(metrics, measured)
    write_baselines([asdict(one) for one in compared], baselines)
    for target in measured["targets"]:
        sign = "<" if target["below"] else ">"
        state = "met" if target["met"] else "NOT MET"
        log.info("%s %s %s %s: %s", target["name"], target["value"], sign, target["target"], state)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--subset", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--baselines", type=Path, required=True)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()
