"""encode: turn every operator of the dataset into tokens.

Reads best_model.pt, the dataset and, for the side of the split that each row was on,
subset.h5; writes tokens.h5 and tokens.parquet.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spinlock.analysis.unlike_data import MOSTLY, warn_of_unlike_data
from spinlock.errors import SpinlockError, memory_for
from spinlock.features.dataset import OperatorDataset, open_dataset
from spinlock.features.hdf5 import create_hdf5
from spinlock.features.table import FeatureTable
from spinlock.files import refuse_overwriting, refuse_replacing, require_suffix
from spinlock.program import execute, experiment_of, stage_parser
from spinlock.progress import progress_bar
from spinlock.results.model_settings import require_own_model
from spinlock.results.training_files import require_own_subset
from spinlock.settings import Experiment
from spinlock.tokenizer.device import choose_device
from spinlock.tokenizer.token_file import TokenWriter, is_token_file, is_token_table, write_parquet
from spinlock.tokenizer.tokenizer import Tokenizer

log = logging.getLogger(__name__)


@memory_for("encode", "encode with device: cpu (--device cpu), or give the job more memory")
def run(
    model: Path,
    dataset: Sequence[Path],
    tokens: Path,
    parquet: Path | None = None,
    subset: Path | None = None,
    config: Path | Experiment | None = None,
    allow_external: bool = False,
    device: str = "auto",
) -> dict[str, float]:
    """Encode a dataset, all of its operators, and return how much was written.

    The model knows its own settings; `config`, where there is one, must have the same, and says
    which device to use, and whether the dataset may take data from other files.
    """
    if config is not None:
        experiment = experiment_of(config)
        device, allow_external = experiment.device, experiment.allow_external_data
    tokenizer = Tokenizer.load(model, device=str(choose_device(device)))
    if config is not None:
        require_own_model(experiment, tokenizer.config, model)
    read = [model, *dataset, *([subset] if subset else [])]
    refuse_overwriting([tokens, *([parquet] if parquet else [])], read)
    require_suffix(tokens, ".h5", ".hdf5")
    refuse_replacing(tokens, is_token_file)
    if parquet is not None:
        require_suffix(parquet, ".parquet")
        refuse_replacing(parquet, is_token_table)
    with open_dataset(dataset, external=allow_external) as source:
        rows = np.arange(source.n_operators)
        with create_hdf5(tokens) as file:
            side = _sides(subset, source, tokenizer)
            writer = TokenWriter(file, tokenizer, rows, side)
            altered = _write_tokens(writer, tokenizer, source)
        warn_of_unlike_data(altered["imputed"], altered["capped"], source.where)
        _warn_of_bridged_series(altered.get("of series bridged", 0.0), source.where)
    if parquet is not None:
        write_parquet(parquet, tokens)
    log.info("%d operators, %.0f bits each; share of cells %s", len(rows), tokenizer.bits, altered)
    return {
        "operators": len(rows),
        "tokens per operator": tokenizer.codebook_sizes.size,
        "bits per operator": tokenizer.bits,
        **{f"share of cells {what}": share for what, share in altered.items()},
    }


def _sides(subset: Path | None, source: OperatorDataset, tokenizer: Tokenizer) -> np.ndarray:
    """Return the side of the split of every operator, −1 for those not in the subset."""
    side = np.full(source.n_operators, -1, np.int8)
    if subset is not None:
        with FeatureTable(subset) as table:
            beyond = table.row_ids.max(initial=-1) >= source.n_operators
            digest = source.digest(fields=tokenizer.reads_fields)
            if beyond or table.source_digest != digest:
                raise SpinlockError(
                    "this subset is of another dataset than the one to encode",
                    where=subset,
                    remedy="give the dataset that it was made from, or leave the subset out",
                )
            require_own_subset(table, tokenizer.provenance, "leave the subset out")
            side[table.row_ids] = table.split
    return side


def _write_tokens(
    writer: TokenWriter, tokenizer: Tokenizer, source: OperatorDataset
) -> dict[str, float]:
    """Write the tokens of all operators; return the share of their cells that cleaning changed."""
    imputed = capped = 0
    filled: Counter[str] = Counter()
    with progress_bar() as progress:
        task = progress.add_task("encode", total=source.n_operators)
        first = 0
        for values, fields in tokenizer.read_blocks(source, filled):
            writer.write(first, tokenizer.encode(values, fields))
            missing, beyond = tokenizer.statistics.altered_cells(values)
            imputed += np.count_nonzero(missing)
            capped += np.count_nonzero(beyond)
            first += len(values)
            progress.update(task, completed=first)
    cells = source.n_operators * len(tokenizer.kept)
    shares = {"imputed": float(imputed / cells), "capped": float(capped / cells)}
    if tokenizer.series:
        of_one = sum(one.steps * len(one.channels) for one in tokenizer.series.values())
        bridged = sum(filled[family] for family in tokenizer.series)
        shares["of series bridged"] = bridged / (source.n_operators * of_one)
    return shares


def _warn_of_bridged_series(bridged: float, where: str) -> None:
    if bridged > MOSTLY:
        log.warning(
            "%s: %.0f %% of the cells of series are missing, and were bridged from those that are "
            "there: these tokens tell little",
            where,
            100 * bridged,
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, nargs="+", required=True)
    parser.add_argument("--subset", type=Path)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--parquet", type=Path)
    parser.add_argument("--config", type=Path)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()
