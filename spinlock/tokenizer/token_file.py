"""Token files: HDF5 for programs, Parquet for tables."""

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from spinlock.errors import SpinlockError, located
from spinlock.features.hdf5 import damage_told, read_text
from spinlock.features.links import own_item
from spinlock.files import atomic_path
from spinlock.tokenizer.tables import ROW_ID
from spinlock.tokenizer.tokenizer import Tokenizer, token_columns

FORMAT = "spinlock-tokens-1"
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")
ROWS_OF_TABLE = 65_536  # written at a time


class TokenWriter:
    """Write `tokens.h5` row block by row block.

    Layout: /tokens [N, C, L] in the smallest unsigned type; /row_ids [N]; /split [N] (0 train,
    1 validation, 2 test, −1 not in the subset); /codebooks/<category>/<level> [K, E];
    /vocabulary/offsets [C, L]: flat token = offset + token, after the special tokens.
    Attributes of the file: format, categories, levels, special_tokens, vocabulary_size,
    model_digest.

    Parameters
    ----------
    file : h5py.File
        Open for writing.
    tokenizer : Tokenizer
    row_ids : int array [N]
    split : int8 array [N]
    """

    def __init__(
        self,
        file: h5py.File,
        tokenizer: Tokenizer,
        row_ids: np.ndarray,
        split: np.ndarray,
    ):
        sizes = tokenizer.codebook_sizes
        offsets = flat_offsets(sizes)
        file.attrs["format"] = FORMAT
        file.attrs["categories"] = list(tokenizer.categories)
        file.attrs["levels"] = tokenizer.levels
        file.attrs["special_tokens"] = list(SPECIAL_TOKENS)
        file.attrs["vocabulary_size"] = int(sizes.sum()) + len(SPECIAL_TOKENS)
        file.attrs["model_digest"] = tokenizer.digest
        file.create_dataset("row_ids", data=row_ids, track_times=False)
        file.create_dataset("split", data=split, track_times=False)
        file.create_dataset("vocabulary/offsets", data=offsets, track_times=False)
        for category, books in zip(tokenizer.categories, tokenizer.codebooks, strict=True):
            for level, book in zip(tokenizer.levels, books, strict=True):
                file.create_dataset(f"codebooks/{category}/{level}", data=book, track_times=False)
        self._tokens = file.create_dataset(
            "tokens",
            shape=(len(row_ids), *sizes.shape),
            dtype=smallest_type(int(sizes.max())),
            track_times=False,
        )

    def write(self, first: int, tokens: np.ndarray) -> None:
        """Write tokens [m, C, L] to rows first..first+m."""
        self._tokens[first : first + len(tokens)] = tokens


def open_tokens(path: Path) -> h5py.File:
    """Open `tokens.h5` for reading, with one whole number per row, category and level.

    Raises
    ------
    SpinlockError
        When it is missing, damaged, not a file of tokens, or takes data from other files.
    """
    if not path.is_file():
        raise SpinlockError(
            "there is no such file of tokens", where=path, remedy="make it with `spinlock encode`"
        )
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _not_tokens(path, error) from error
    try:
        with damage_told(path):
            read_text(lambda: dict(file.attrs), path, [file])
            problem = _token_problem(file)
        if problem:
            raise _not_tokens(path, problem)
    except SpinlockError:
        file.close()
        raise
    return file


def require_tokens_of(tokenizer: Tokenizer, file: h5py.File) -> None:
    """Check that tokens are of a model, before they are read.

    Raises
    ------
    SpinlockError
        When they are of another model, or of another shape than its own.
    """
    if file.attrs["model_digest"] != tokenizer.digest:
        raise SpinlockError(
            "these tokens are of another model, and mean nothing to this one",
            where=file.filename,
            remedy="take the model that encoded them, or encode again",
        )
    with located(file.filename):
        tokenizer.require_token_shape(file["tokens"].shape)


def is_token_file(path: Path) -> bool:
    """Return whether `open_tokens` can open a file."""
    try:
        open_tokens(path).close()
    except SpinlockError:
        return False
    return True


def is_token_table(path: Path) -> bool:
    """Return whether a file is a table that `write_parquet` wrote."""
    try:
        with path.open("rb") as file:
            return b"spinlock" in (pq.read_schema(file).metadata or {})
    except (OSError, ValueError):
        return False


def _not_tokens(path: Path, problem: object) -> SpinlockError:
    """Return the error of a file that holds no tokens."""
    remedy = "make it with `spinlock encode`"
    if path.suffix == ".parquet":
        remedy = "give tokens.h5, or read the table and call Tokenizer.inverse_transform"
    return SpinlockError(f"this is not a file of tokens ({problem})", where=path, remedy=remedy)


def _token_problem(file: h5py.File) -> str | None:
    if file.attrs.get("format") != FORMAT:
        return f"its format is {file.attrs.get('format')!r}, not {FORMAT!r}"
    if not isinstance(file.attrs.get("model_digest"), str):
        return "it does not say which model made it"
    counts = set()
    for name, rank in (("tokens", 3), ("row_ids", 1), ("split", 1)):
        item = own_item(file, name, file.filename)
        if not isinstance(item, h5py.Dataset) or item.ndim != rank or item.dtype.kind not in "iu":
            return f"/{name} holds no whole numbers of {rank} axes"
        counts.add(len(item))
    return None if len(counts) == 1 else "its arrays have different lengths"


def smallest_type(largest_book: int) -> np.dtype:
    """Return the smallest unsigned type that holds the tokens of the largest book."""
    return np.min_scalar_type(max(largest_book - 1, 0))


def flat_offsets(sizes: np.ndarray) -> np.ndarray:
    """Return where each book [C, L] begins in one flat vocabulary, after the special tokens."""
    ends = np.cumsum(sizes.ravel())
    return (len(SPECIAL_TOKENS) + ends - sizes.ravel()).reshape(sizes.shape)


def write_parquet(path: Path, tokens_file: Path) -> None:
    """Write the tokens of an HDF5 file as a table: row_id, split, one column per book."""
    # pyarrow takes some paths for addresses: it gets an open file
    with (
        h5py.File(tokens_file) as file,
        atomic_path(path) as temporary,
        temporary.open("wb") as parquet,
    ):
        writer = None
        for frame in _frames(file):
            table = pa.Table.from_pandas(frame, preserve_index=False)
            metadata = {"spinlock": json.dumps({"model_digest": file.attrs["model_digest"]})}
            table = table.replace_schema_metadata(metadata)
            writer = writer or pq.ParquetWriter(parquet, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _frames(file: h5py.File) -> Iterator[pd.DataFrame]:
    tokens = file["tokens"]
    names = token_columns(file.attrs["categories"], file.attrs["levels"])
    for first in range(0, max(len(tokens), 1), ROWS_OF_TABLE):
        block = slice(first, first + ROWS_OF_TABLE)
        flat = tokens[block].reshape(-1, len(names))
        frame = pd.DataFrame(flat, columns=names)
        frame.insert(0, ROW_ID, file["row_ids"][block])
        frame.insert(1, "split", file["split"][block])
        yield frame
