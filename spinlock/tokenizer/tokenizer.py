"""The public tokenizer: from features in original units to tokens, and back."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from spinlock.errors import SpinlockError, listed
from spinlock.features.columns import (
    TableColumns,
    choose_columns,
    finite_fields,
    read_columns,
    read_fields,
)
from spinlock.features.dataset import OperatorDataset, open_dataset
from spinlock.features.table import Column, Series, TableHeader
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.device import choose_device
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.network.token_search import TokenSearch
from spinlock.tokenizer.normalization.statistics import FeatureStatistics
from spinlock.tokenizer.plain_files import read_model
from spinlock.tokenizer.tables import (
    feature_table,
    field_array,
    finite_rows,
    normalized_rows,
    token_array,
    token_table,
)
from spinlock.tokenizer.transformer import FittedTransformer

ROW_BLOCK = 4096


class Tokenizer(FittedTransformer):
    """A trained model, ready to encode features into tokens and decode them.

    It can be a step of a pipeline of scikit-learn, whose `fit` leaves it as it is. Threads may
    share it, and so may processes that are spawned; those that are forked hang in torch unless
    `torch.set_num_threads(1)` came before.

    Examples
    --------
    >>> tokenizer = spinlock.Tokenizer.load("results/arch_summary/best_model.pt")
    >>> tokens = tokenizer.encode(features)
    >>> features = tokenizer.decode(tokens)

    Parameters
    ----------
    checkpoint : Checkpoint
    """

    def __init__(self, checkpoint: Checkpoint):
        if not isinstance(checkpoint, Checkpoint):
            raise SpinlockError(
                f"a Tokenizer is not made of {checkpoint!r}",
                remedy="read a model with Tokenizer.load(path)",
            )
        # what a training goes on from is thrice the weights
        self._checkpoint = replace(checkpoint, optimizer_state={}, training_state={})
        self._model = checkpoint.model.eval()
        self._searches: dict[int | None, TokenSearch] = {}  # by beam: one serves all blocks

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_searches": {}}

    def __repr__(self) -> str:
        return (
            f"Tokenizer({self.bits:.4g} bits in {len(self.categories)} categories, "
            f"{len(self.columns)} columns of which {len(self.kept)} are kept)"
        )

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> "Tokenizer":
        """Read a tokenizer from `best_model.pt`, any checkpoint, or `model.safetensors`.

        Parameters
        ----------
        path : path
        device : str
            auto, cpu, cuda or cuda:N.

        Raises
        ------
        SpinlockError
            When the file is no model, or the device is not there.
        """
        return cls(read_model(path, choose_device(device)))

    @property
    def columns(self) -> list[Column]:
        """Raw columns in order, families by name; each has `family`, `name` and `full_name`."""
        return list(self._checkpoint.header.columns)

    @property
    def source_digest(self) -> str:
        """Digest of the dataset that the model was fitted on."""
        return self._checkpoint.header.source_digest

    @property
    def digest(self) -> str:
        """Digest of the file of the model: its tokens carry it."""
        return self._checkpoint.digest

    @property
    def kept(self) -> np.ndarray:
        """Indices [D] of the raw columns that cleaning kept."""
        return self._checkpoint.statistics.kept

    @property
    def kept_names(self) -> list[str]:
        """Full names of the kept columns."""
        return self._checkpoint.kept_names

    @property
    def categories(self) -> dict[str, np.ndarray]:
        """Name of each category → positions of its columns among those that are kept."""
        return self._checkpoint.categories

    @property
    def codebook_sizes(self) -> np.ndarray:
        """Number of codes per category and level [C, L]."""
        return self._model.quantizer.sizes.copy()

    @property
    def codebooks(self) -> list[list[np.ndarray]]:
        """Code vectors, a list [C] of lists [L] of arrays [K, E]."""
        quantizer = self._model.quantizer
        levels = range(self.n_levels)
        return [
            # copies: an array of a parameter shares its memory
            [quantizer.book(c, level).detach().cpu().numpy().copy() for level in levels]
            for c in range(quantizer.n_categories)
        ]

    @property
    def n_levels(self) -> int:
        """L, the number of levels."""
        return self._model.n_levels

    @property
    def bits(self) -> float:
        """Nominal bits per operator, Σ log2 K."""
        return float(np.log2(self.codebook_sizes).sum())

    @property
    def bits_by_level(self) -> np.ndarray:
        """Those of each level [L], of all categories together."""
        return np.log2(self.codebook_sizes).sum(axis=0)

    @property
    def history(self) -> list[dict[str, Any]]:
        """Training history: an entry of the start, of each epoch, and of the steps after them."""
        return self._checkpoint.history

    @property
    def config(self) -> dict[str, Any]:
        """Resolved settings of the training."""
        return self._checkpoint.config

    @property
    def metrics(self) -> dict[str, Any]:
        """Final metrics on validation rows."""
        return self._checkpoint.metrics

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the model: digests, versions, seeds."""
        return self._checkpoint.provenance

    @property
    def statistics(self) -> FeatureStatistics:
        """The cleaning and normalisation, `FeatureStatistics`."""
        return self._checkpoint.statistics

    @property
    def reads_fields(self) -> bool:
        """Whether an encoder reads initial fields."""
        return self._model.shape.field_channels is not None

    @property
    def levels(self) -> list[str]:
        """Names of the levels, coarse first."""
        return level_names(self.n_levels)

    def get_feature_names_out(self, input_features: Any = None) -> list[str]:  # noqa: ARG002
        """Names [C · L] of the columns of `transform`, which are those of tokens.parquet.

        `input_features` is there for scikit-learn's pipelines, and is not read.
        """
        return token_columns(self.categories, self.levels)

    @property
    def series(self) -> dict[str, Series]:
        """Families of series: `steps`, `coefficients` kept of them, names of the `channels`."""
        return dict(self._checkpoint.header.series)

    def read_blocks(
        self, source: OperatorDataset, filled: Counter[str] | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Give raw columns [m, columns], and fields where the model reads them, of a dataset.

        `source` is open, as `spinlock.features.dataset.open_dataset` gives it. Columns of a family
        are matched by name, in any order. Cells of series and fields that are not finite, and are
        bridged or zero, are added to `filled`.

        Raises
        ------
        SpinlockError
            When the dataset has other columns than the model reads.
        """
        header = self._checkpoint.header
        kept = {family: series.coefficients for family, series in header.series.items()}
        wanted = list(dict.fromkeys(column.family for column in header.columns))
        chosen = choose_columns(source, wanted, kept)
        differences = _differences(chosen, header)
        if differences:
            raise SpinlockError(
                f"the dataset gives {len(chosen.columns)} columns that are not the "
                f"{len(header.columns)} columns of the model: {differences}",
                where=source.where,
                remedy="encode a dataset with the model's own families and feature names",
            )
        order = _order(chosen.columns, header.columns)
        with_fields = self.reads_fields
        for first in range(0, source.n_operators, ROW_BLOCK):
            rows = np.arange(first, min(first + ROW_BLOCK, source.n_operators))
            fields = read_fields(source, rows, filled) if with_fields else None
            yield read_columns(source, chosen, rows, filled)[:, order], fields

    def encode(
        self,
        features: np.ndarray | pd.DataFrame | str | Path | Sequence[str | Path],
        fields: ArrayLike | None = None,
        beam: int | None = None,
    ) -> np.ndarray:
        """Return tokens [n, C, L] of features in original columns and units.

        Parameters
        ----------
        features : array [n, columns], DataFrame, or path of a dataset, or of its shards in order
            An array has its columns in the order of `columns`: families sorted by name. A frame is
            matched by column name, in any order; short names do where they are unique. Missing
            values may be NaN. Of a dataset, all operators are read.
        fields : array [n, C, H, W], optional
            Initial fields, for models that read them: [n, M · C, H, W] where a dataset has M
            realizations. They are read in float32; what is not
            finite there counts as zero, as in a dataset. A path brings its own.
        beam : int, optional
            Encodings to follow; 1 is greedy. By default the model's own width.

        Raises
        ------
        SpinlockError
            When columns are missing, an array or a dataset has others than the model reads (a
            frame may have more), the fields are of another shape, or the beam is no whole number
            of at least 1.
        """
        paths = [features] if isinstance(features, str | Path) else features
        if _are_paths(paths):
            if fields is not None:
                raise SpinlockError(
                    "fields are given beside a dataset, whose own fields are read",
                    remedy="leave the fields out, or give the features as an array",
                )
            with open_dataset([Path(one) for one in paths]) as source:
                blocks = [self.encode(*block, beam) for block in self.read_blocks(source)]
            return np.concatenate(blocks)
        table = feature_table(features, self.columns)
        statistics = self.statistics
        return self._tokens(lambda b: statistics.apply(table[b]), len(table), fields, beam)

    def decode(self, tokens: ArrayLike, levels: int | None = None) -> np.ndarray:
        """Return features [n, columns] in original units, from the first `levels` of tokens."""
        return self.denormalize(self.reconstruct(tokens, levels))

    def transform(self, features: np.ndarray | pd.DataFrame) -> np.ndarray | pd.DataFrame:
        """Return tokens as a flat table [n, C · L], as scikit-learn's transformers do.

        It is a frame where `set_output`, or scikit-learn's `transform_output`, says so.
        """
        tokens = self.encode(features)
        flat = tokens.reshape(len(tokens), self.codebook_sizes.size)
        return self._in_container(flat, self.get_feature_names_out(), features)

    def inverse_transform(self, tokens: np.ndarray | pd.DataFrame) -> np.ndarray:
        """Return features of a flat table of tokens [n, C · L]; a frame's columns go by name."""
        flat = token_table(tokens, self.get_feature_names_out())
        return self.decode(flat.reshape(len(flat), *self.codebook_sizes.shape))

    def normalize(self, values: np.ndarray | pd.DataFrame) -> np.ndarray:
        """Clean and normalise raw columns, or a frame that names them: float32 [n, D]."""
        return self._checkpoint.statistics.apply(feature_table(values, self.columns))

    def denormalize(self, normalised: ArrayLike) -> np.ndarray:
        """Return raw columns [n, columns], in original units, of normalised rows [n, D].

        Raises
        ------
        SpinlockError
            When the rows have another shape, or values are no numbers.
        """
        rows = normalized_rows(normalised, len(self.kept))
        return self._checkpoint.statistics.invert(rows)

    def tokenize(
        self, x: np.ndarray, fields: ArrayLike | None = None, beam: int | None = None
    ) -> np.ndarray:
        """Return tokens [n, C, L] of normalised rows x [n, D]; fields are as those of `encode`.

        Raises
        ------
        SpinlockError
            When the rows are none that `normalize` gives, or the fields are of another shape.
        """
        rows = finite_rows(x, len(self.kept))
        return self._tokens(lambda block: rows[block], len(rows), fields, beam)

    def _tokens(
        self,
        read: Callable[[slice], np.ndarray],
        n_rows: int,
        fields: ArrayLike | None,
        beam: int | None,
    ) -> np.ndarray:
        if beam is not None and not (_is_whole(beam) and beam >= 1):
            raise SpinlockError(
                f"beam is {beam!r}; it may be a whole number of at least 1",
                remedy="leave it out for the model's own width",
            )
        given = self._fields_of(fields, n_rows)

        def rows(block: slice) -> Rows:
            x = torch.as_tensor(np.ascontiguousarray(read(block)), device=self._device)
            if given is None:
                return Rows(x)
            return Rows(x, torch.as_tensor(finite_fields(given[block]), device=self._device))

        if beam not in self._searches:
            self._searches[beam] = self._model.token_search(beam)
        return self._searches[beam].tokens(rows, n_rows).cpu().numpy()

    def reconstruct(self, tokens: ArrayLike, levels: int | None = None) -> np.ndarray:
        """Return normalised rows [n, D] of tokens [n, C, L].

        Raises
        ------
        SpinlockError
            When the tokens are of another shape, or not in the books, or there are no such levels.
        """
        given = self._tokens_of(tokens, levels)
        return self._by_block(lambda block: self._model.reconstruct(block, levels), given)

    def embed(self, tokens: ArrayLike, levels: int | None = None) -> np.ndarray:
        """Return the sums of code vectors [n, C, E] of tokens, of the first `levels`."""
        given = self._tokens_of(tokens, levels)
        return self._by_block(lambda block: self._model.embed(block, levels), given)

    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    @torch.no_grad()
    def _by_block(self, function: Any, tokens: np.ndarray) -> np.ndarray:
        whole = torch.as_tensor(np.array(tokens, np.int64, order="C"), device=self._device)
        return torch.cat([function(block) for block in whole.split(ROW_BLOCK)]).cpu().numpy()

    @property
    def _device(self) -> torch.device:
        return self._model.quantizer.codes(0).device

    def _fields_of(self, fields: ArrayLike | None, n_rows: int) -> np.ndarray | None:
        channels = self._model.shape.field_channels
        if channels is None:
            if fields is not None:
                raise SpinlockError("this model reads no fields", remedy="leave the fields out")
            return None
        if fields is None:
            raise SpinlockError(
                f"this model reads fields [{n_rows}, {channels}, H, W], and there are none",
                remedy="give those of the same rows: encode(features, fields), not transform",
            )
        return field_array(fields, n_rows, channels)

    def require_token_shape(self, shape: tuple[int, ...]) -> None:
        """Raise a SpinlockError unless tokens of this shape [n, C, L] can be the model's."""
        if len(shape) != 3 or shape[1:] != self.codebook_sizes.shape:
            hint = ""
            if shape == self.codebook_sizes.shape:
                hint = "; those of one operator are read as tokens[None]"
            elif len(shape) == 2:
                hint = "; a flat table, as tokens.parquet has it, goes to inverse_transform"
            elif (
                len(shape) == 3
                and shape[1] == len(self.codebook_sizes)
                and shape[2] < self.n_levels
            ):
                hint = "; of all levels: decode(tokens, levels=1) reads the first alone"
            raise SpinlockError(
                f"the tokens have shape {shape}; this model reads "
                f"[n, {self.codebook_sizes.shape[0]}, {self.n_levels}]",
                remedy=f"use this model's tokens{hint}",
            )

    def require_levels(self, levels: int | None) -> None:
        """Raise a SpinlockError unless tokens can be decoded from so many levels; None is all."""
        if levels is not None and not (_is_whole(levels) and 1 <= levels <= self.n_levels):
            raise SpinlockError(
                f"levels is {levels!r}; it may be a whole number, 1 to {self.n_levels}",
                remedy="leave it out to decode all levels",
            )

    def _tokens_of(self, given: ArrayLike, levels: int | None) -> np.ndarray:
        tokens = token_array(given)
        self.require_token_shape(tokens.shape)
        self.require_levels(levels)
        if len(tokens) and (tokens.min() < 0 or (tokens >= self.codebook_sizes).any()):
            raise SpinlockError("a token is not in its codebook", remedy="use this model's tokens")
        return tokens


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _are_paths(values: object) -> bool:
    listed = isinstance(values, list | tuple) and len(values) > 0
    return listed and all(isinstance(one, str | Path) for one in values)


def level_names(n_levels: int) -> list[str]:
    """Return the names of the levels: coarse, medium, fine where there are three."""
    if n_levels == 3:
        return ["coarse", "medium", "fine"]
    return [f"level_{level}" for level in range(n_levels)]


def token_columns(categories: Iterable[str], levels: Sequence[str]) -> list[str]:
    """Return the names of the columns of a table of tokens."""
    return [f"{category}_{level}" for category in categories for level in levels]


def _order(found: Sequence[Column], wanted: Sequence[Column]) -> slice | list[int]:
    """Return where the columns that are wanted stand; a slice, which copies nothing, in order."""
    if found == wanted:
        return slice(None)
    place = {column: i for i, column in enumerate(found)}
    return [place[column] for column in wanted]


def _differences(found: TableColumns, wanted: TableHeader) -> str:
    """Say in what way the columns of a dataset are not those of a model, "" where they are."""
    given = [column.full_name for column in found.columns]
    asked = [column.full_name for column in wanted.columns]
    missing = [name for name in asked if name not in set(given)]
    unknown = [name for name in given if name not in set(asked)]
    if missing or unknown:
        return f"missing: {listed(missing)}; unknown: {listed(unknown)}"
    own, model = (
        {family: series.steps for family, series in columns.series.items()}
        for columns in (found, wanted)
    )
    return "" if own == model else f"series have {own} steps, those of the model {model}"
