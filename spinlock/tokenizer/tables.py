"""Arrays of what a user gives: features, fields, or flat tokens; frames go by name."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from pandas.api.types import is_integer_dtype

from spinlock.errors import SpinlockError, listed
from spinlock.features.table import Column

AS_COLUMNS = "give the original columns in their order, or a DataFrame with their names"
ROW_ID = "row_id"
BESIDE_TOKENS = (ROW_ID, "split")  # columns of a file's table
REMEDIES = {  # by the number of axes
    0: "give an array, a tensor, a DataFrame (of a dict: pd.DataFrame(values)) or a dataset's path",
    1: "give one row as [1, columns]: x[None]",
    3: "describe series [n, T, channels] by spinlock.features.series.describe_series first, or "
    "give the path of a dataset",
}
NO_NUMBERS = {"c": "complex", "M": "points in time", "m": "spans of time"}


def feature_table(features: np.ndarray | pd.DataFrame, columns: Sequence[Column]) -> np.ndarray:
    """Return features [n, columns] of an array in their order, or of a frame with their names.

    Masked cells of an array, and NA in a frame, are NaN.

    Raises
    ------
    SpinlockError
        When columns are missing, ambiguous or of another number, or values are no numbers.
    """
    if isinstance(features, pd.DataFrame):
        return _matched(features, columns)
    table = _array(features, "the features")
    if table.ndim != 2 or table.shape[1] != len(columns):
        raise SpinlockError(
            f"the features have shape {table.shape}; this model reads [n, {len(columns)}]",
            remedy=REMEDIES.get(table.ndim, AS_COLUMNS),
        )
    return _real(table, "the features")


def field_array(fields: ArrayLike, n_rows: int, channels: int) -> np.ndarray:
    """Return initial fields [n, C, H, W], of any type of real numbers; masked values are NaN.

    Raises
    ------
    SpinlockError
        When they have another shape, or values are no numbers.
    """
    array = _array(fields, "the fields")
    if array.ndim != 4 or array.shape[:2] != (n_rows, channels):
        raise SpinlockError(
            f"the fields have shape {array.shape}; this model reads "
            f"[{n_rows}, {channels}, H, W] with these features",
            remedy="give the initial fields of the same rows; realizations are further channels",
        )
    return _real(array, "the fields")


def token_table(tokens: np.ndarray | pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return flat tokens [n, names] of an array, or of a frame by name, unless it has no names.

    Raises
    ------
    SpinlockError
        When columns are missing or of another number.
    """
    refuse_masked(tokens)
    if isinstance(tokens, pd.DataFrame) and not isinstance(tokens.columns, pd.RangeIndex):
        tokens = tokens.drop(columns=list(BESIDE_TOKENS), errors="ignore")
        _require_columns(tokens, names, "name the columns as get_feature_names_out does")
        tokens = tokens[list(names)]
    flat = _integers(tokens) if isinstance(tokens, pd.DataFrame) else _of_any_device(tokens)
    if flat.ndim != 2 or flat.shape[1] != len(names):
        raise SpinlockError(
            f"the tokens have shape {flat.shape}; this model's table is [n, {len(names)}]",
            remedy="give the table that `transform` made",
        )
    return flat


def token_array(tokens: ArrayLike) -> np.ndarray:
    """Return tokens of any shape as an array of integers.

    Raises
    ------
    SpinlockError
        When they are no whole numbers, or some are masked.
    """
    refuse_masked(tokens)
    with _text_told("the tokens"):
        array = _of_any_device(tokens)
    if array.dtype.kind not in "iu":
        raise SpinlockError(
            f"the tokens are of type {array.dtype}; they are whole numbers",
            remedy="leave out rows without tokens, and keep the integers of `encode`",
        )
    return array


def normalized_rows(x: ArrayLike, n_columns: int) -> np.ndarray:
    """Return normalised rows [n, n_columns], in their own type.

    Raises
    ------
    SpinlockError
        When they have another shape, or values are no numbers.
    """
    rows = _real(_array(x, "the rows"), "the rows")
    if rows.ndim != 2 or rows.shape[1] != n_columns:
        raise SpinlockError(
            f"the rows have shape {rows.shape}; this model's normalised rows are [n, {n_columns}]",
            remedy="give what `normalize` makes, or raw columns to `encode`",
        )
    return rows


def finite_rows(x: ArrayLike, n_columns: int) -> np.ndarray:
    """Return normalised rows float32 [n, n_columns].

    Raises
    ------
    SpinlockError
        When they have another shape, or values that are not finite in float32.
    """
    rows = normalized_rows(x, n_columns)
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32, copy=False)
    if not np.isfinite(rows).all():
        raise SpinlockError(
            "normalised rows hold values that are not finite",
            remedy="give what `normalize` makes: it fills the gaps",
        )
    return rows


def refuse_masked(tokens: object) -> None:
    """Raise a SpinlockError where tokens are hidden by a mask: there are none for such cells."""
    if np.ma.is_masked(tokens):
        raise SpinlockError(
            "some tokens are masked", remedy="leave out the rows whose tokens are not known"
        )


def _integers(frame: pd.DataFrame) -> np.ndarray:
    """Return a frame as an array: integers where its types, nullable or not, are and none is NA."""
    if all(is_integer_dtype(dtype) for dtype in frame.dtypes) and not frame.isna().any(axis=None):
        return frame.to_numpy(np.int64)
    return frame.to_numpy()


def _matched(frame: pd.DataFrame, columns: Sequence[Column]) -> np.ndarray:
    if isinstance(frame.columns, pd.MultiIndex):
        raise SpinlockError(
            f"the frame's columns have {frame.columns.nlevels} levels of names",
            remedy='join them: frame.columns = ["/".join(names) for names in frame.columns]',
        )
    frame = frame.set_axis(frame.columns.map(str), axis=1)  # those of a table without names too
    names = [column.full_name for column in columns]
    if not set(names) & set(frame.columns):
        names = [column.name for column in columns]
    _require_columns(frame, names, "name the columns as the model does: Tokenizer.columns")
    wanted, given = Counter(names), Counter(frame.columns)
    twice = [name for name in wanted if wanted[name] > 1 or given[name] > 1]
    if twice:
        raise SpinlockError(
            f"columns are ambiguous: {listed(twice)}",
            remedy="give each column once, by its full name: Tokenizer.columns",
        )
    read = []
    for name in names:
        with _text_told(f"the values of the column {name!r}"):
            _refuse_kind(frame[name].dtype.kind)
            read.append(frame[name].to_numpy(np.float64, na_value=np.nan))
    return np.column_stack(read)


def _require_columns(frame: pd.DataFrame, names: Sequence[str], remedy: str) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        known = set(names)
        unknown = [str(name) for name in frame.columns if name not in known]
        also = f"; unknown columns: {listed(unknown)}" if unknown else ""
        raise SpinlockError(f"columns are missing: {listed(missing)}{also}", remedy=remedy)


def _array(values: Any, what: str) -> np.ndarray:
    with _text_told(what):
        if isinstance(values, np.ma.MaskedArray):
            _refuse_kind(values.dtype.kind)
            return values.astype(np.float64).filled(np.nan)
        return _of_any_device(values)


def _of_any_device(values: Any) -> np.ndarray:
    _refuse_other_tables(values)
    if isinstance(values, torch.Tensor):
        known = values.float() if values.dtype == torch.bfloat16 else values  # numpy has no such
        return known.numpy(force=True)
    return np.asarray(values)


def _refuse_other_tables(values: Any) -> None:
    """Raise a SpinlockError for a table whose names numpy would drop: columns go by name."""
    named = hasattr(values, "column_names") or hasattr(values, "columns")
    if named and not isinstance(values, pd.DataFrame):
        library = type(values).__module__.partition(".")[0]
        raise SpinlockError(
            f"the names of the columns of a {type(values).__name__} of {library} are not read",
            remedy="give a frame of pandas: table.to_pandas()",
        )


def _real(array: np.ndarray, what: str) -> np.ndarray:
    """Return an array of real numbers as it is, and one of objects in float64."""
    if array.dtype.kind in "biuf":
        return array
    with _text_told(what):
        _refuse_kind(array.dtype.kind)
        return array.astype(np.float64)


def _refuse_kind(kind: str) -> None:
    """Raise TypeError for what numpy would turn into numbers that mean something else."""
    if kind in NO_NUMBERS:
        raise TypeError(f"they are {NO_NUMBERS[kind]}")


@contextmanager
def _text_told(what: str) -> Iterator[None]:
    """Turn what numpy raises of values that are no real numbers into a message."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise SpinlockError(
            f"{what} are not numbers: {error}", remedy="give numbers, and NaN for gaps"
        ) from error
