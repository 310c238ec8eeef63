"""Rows encoded per second, from features in original units to tokens."""

import numpy as np

from benchmarks.data import Table, operator_table
from benchmarks.measurement import Result, Settings, interleaved, typical
from benchmarks.training import BOOKS, CATEGORIES, starting_model
from spinlock.features.table import Column, TableHeader
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.tokenizer import Tokenizer

GOAL = 100_000  # rows per second, greedy, on two cores
BEAM = 8
ROWS = 100_000


def measure(settings: Settings) -> dict[str, Result]:
    """Encode the same rows greedily and with the default beam."""
    table = operator_table(400 if settings.quick else 4000)
    model = starting_model(table, 3 if settings.quick else CATEGORIES)
    tokenizer = tokenizer_of(table, model)
    rows = np.resize(table.values, (len(table.values) if settings.quick else ROWS, table.width))
    seconds = interleaved(
        {
            "greedy": lambda: tokenizer.encode(rows, beam=1),
            "beam": lambda: tokenizer.encode(rows, beam=BEAM),
        },
        1 if settings.quick else 3,
    )
    greedy, beam = (len(rows) / typical(seconds[name]) for name in ("greedy", "beam"))
    conditions = (
        f"{len(rows)} rows of {table.width} raw features to tokens of {CATEGORIES} categories × "
        f"{model.n_levels} levels of {BOOKS} codes, cleaning and normalisation included"
    )
    return {
        "encoding": Result(
            greedy,
            GOAL,
            "rows/s",
            f"{conditions}; greedy; reference: the goal",
            higher_is_better=True,
        ),
        "encoding_beam": Result(
            beam,
            greedy,
            "rows/s",
            f"{conditions}; a beam of {BEAM}; reference: greedy",
            higher_is_better=True,
        ),
    }


def tokenizer_of(table: Table, model: TokenizerModel) -> Tokenizer:
    """Return the public tokenizer around a model of this table."""
    columns = [Column("features", f"column_{i}") for i in range(table.width)]
    categories = {f"category_{c:02d}": np.array(m) for c, m in enumerate(model.shape.partition)}
    return Tokenizer(
        Checkpoint(model, TableHeader(columns, "benchmark"), table.statistics, categories, {})
    )
