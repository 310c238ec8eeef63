"""decode: turn tokens back into features, in original units.

Reads best_model.pt and tokens.h5; writes a table with one row per operator, .parquet or .csv.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from spinlock.errors import located, memory_for
from spinlock.features.hdf5 import damage_told
from spinlock.files import atomic_path, refuse_overwriting, refuse_replacing, require_suffix
from spinlock.tokenizer.tables import ROW_ID
from spinlock.tokenizer.token_file import open_tokens, require_tokens_of
from spinlock.tokenizer.tokenizer import Tokenizer

log = logging.getLogger(__name__)


@memory_for("decode", "decode fewer operators, or give the job more memory")
def run(model: Path, tokens: Path, output: Path, levels: int | None = None) -> dict[str, int]:
    """Decode a file of tokens, of 1 level the coarse alone; return how much was written."""
    require_suffix(output, ".parquet", ".csv")
    refuse_overwriting([output], [model, tokens])
    refuse_replacing(output, _is_decoded)
    tokenizer = Tokenizer.load(model)
    tokenizer.require_levels(levels)
    row_ids, values = _read_tokens(tokens, tokenizer)
    names = [column.full_name for column in tokenizer.columns]
    with located(tokens):
        frame = pd.DataFrame(tokenizer.decode(values, levels), columns=names)
    frame.insert(0, ROW_ID, row_ids)
    with atomic_path(output) as temporary:
        if output.suffix == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            with temporary.open("wb") as file:  # pyarrow takes some paths for addresses
                frame.to_parquet(file, index=False)
    log.info("%d operators, %d features", len(frame), len(tokenizer.columns))
    return {"operators": len(frame), "features": len(tokenizer.columns)}


def _is_decoded(path: Path) -> bool:
    """Whether a table begins, as what is written here does, with the numbers of its rows."""
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, nrows=0).columns[0] == ROW_ID
        with path.open("rb") as file:
            return pq.read_schema(file).names[0] == ROW_ID
    except (OSError, ValueError, IndexError):
        return False


def _read_tokens(path: Path, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    with open_tokens(path) as file:
        require_tokens_of(tokenizer, file)
        with damage_told(path):
            row_ids, tokens = file["row_ids"][:], file["tokens"][:]
    return row_ids, tokens.astype(np.int64)
