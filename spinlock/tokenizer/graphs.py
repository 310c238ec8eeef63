"""Encode and decode as graphs that run without spinlock: torch.export and ONNX."""

import copy
import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from spinlock.errors import SpinlockError
from spinlock.files import atomic_path
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.float64_operations import with_float64_operations
from spinlock.tokenizer.network.codebook import search
from spinlock.tokenizer.network.field_encoders import FieldReader
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.token_search import TokenSearch
from spinlock.tokenizer.normalization.statistics import FeatureStatistics, Reason
from spinlock.tokenizer.normalization.tails import HUGE, log_units

CAPS = ("lower", "upper")
BOUNDS = (*CAPS, "log_below", "log_above")
EXAMPLE_ROWS = 4  # of the batch that a graph is traced with; it takes any number


class EncodeProgram(nn.Module):
    """Raw columns float64 [n, columns], and fields where the model reads them, to tokens.

    The arithmetic of `FeatureStatistics.apply`, of `finite_fields` and of
    `TokenizerModel.tokenize`, as one graph; all
    in float64, which is where the tokenizer decides what float32 leaves open.
    """

    kept: Tensor
    impute: Tensor
    lower: Tensor
    upper: Tensor
    log_below: Tensor
    log_above: Tensor
    unit: Tensor | None
    center: Tensor
    scale: Tensor

    def __init__(self, model: TokenizerModel, statistics: FeatureStatistics):
        super().__init__()
        exact = TokenSearch(model.encoder, model.quantizer, model.shape.beam_width).exact
        self.encoder, self.books, self.beam = exact.encoder, exact.books, model.shape.beam_width
        self.register_buffer("kept", torch.from_numpy(statistics.kept.astype(np.int64)))
        self.register_buffer("unit", _log_units(statistics))
        for name in ("impute", *(CAPS if self.unit is None else BOUNDS), "center", "scale"):
            column = np.asarray(getattr(statistics, name), np.float64)[statistics.kept]
            self.register_buffer(name, torch.from_numpy(column))

    def forward(self, values: Tensor, fields: Tensor | None = None) -> Tensor:
        """Return tokens int64 [n, C, L]."""
        x = values.index_select(1, self.kept)
        x = torch.where(torch.isfinite(x), x, self.impute)
        x = torch.minimum(torch.maximum(x, self.lower), self.upper)
        if self.unit is not None:
            within = torch.minimum(torch.maximum(x, self.log_below), self.log_above)
            excess = x - within
            ratio = (excess.abs() / self.unit).clamp(max=HUGE)
            x = within + excess.sign() * self.unit * ratio.log1p()
        x = ((x - self.center) / self.scale).to(torch.float32).to(torch.float64)
        if fields is not None:
            fields = torch.where(torch.isfinite(fields), fields, 0.0).to(torch.float64)
        z = self.encoder(x, fields)
        tokens = [
            search(z[c, :, : books[0].codes.shape[1]], books, self.beam).tokens
            for c, books in enumerate(self.books)
        ]
        return torch.stack(tokens, dim=1)


class DecodeProgram(nn.Module):
    """Tokens int64 [n, C, L] to raw columns float64 [n, columns], in original units.

    Every raw column is a linear function of one kept column: of itself, of its twin, or,
    for constants and mostly missing columns, of none.
    """

    lower: Tensor
    upper: Tensor
    log_below: Tensor
    log_above: Tensor
    unit: Tensor | None
    center: Tensor
    scale: Tensor
    source: Tensor
    slope: Tensor
    intercept: Tensor

    def __init__(self, model: TokenizerModel, statistics: FeatureStatistics):
        super().__init__()
        self.quantizer, self.decoder = model.quantizer, model.decoder
        kept = statistics.kept
        position = np.zeros(len(statistics.reason), np.int64)
        position[kept] = np.arange(len(kept))
        slope, intercept = np.zeros(len(position)), statistics.impute.astype(np.float64)
        slope[kept], intercept[kept] = 1.0, 0.0
        repeats = np.flatnonzero(statistics.reason == Reason.DUPLICATE)
        position[repeats] = position[statistics.twin[repeats]]
        slope[repeats] = statistics.slope[repeats]
        intercept[repeats] = statistics.intercept[repeats]
        buffers = {
            "center": statistics.center[kept],
            "scale": statistics.scale[kept],
            "source": position,
            "slope": slope,
            "intercept": intercept,
        }
        self.register_buffer("unit", _log_units(statistics))
        if self.unit is not None:
            buffers |= {name: getattr(statistics, name)[kept] for name in BOUNDS}
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return raw columns."""
        codes = self.quantizer.decode(tokens.transpose(0, 1))
        x = self.decoder(codes, self.quantizer.n_levels - 1).to(torch.float64)
        x = x * self.scale + self.center
        if self.unit is not None:
            within = torch.minimum(torch.maximum(x, self.log_below), self.log_above)
            beyond = x - within
            ratio = (beyond.abs() / self.unit).clamp(max=math.log(HUGE))
            far = within + beyond.sign() * self.unit * ratio.expm1()
            far = torch.minimum(torch.maximum(far, self.lower), self.upper)
            x = torch.where(torch.isfinite(self.log_below), far, x)
        return x.index_select(1, self.source) * self.slope + self.intercept


def _log_units(statistics: FeatureStatistics) -> Tensor | None:
    """Return the units [D] of the logarithms in tails; None where no column has any."""
    low, high = statistics.log_below[statistics.kept], statistics.log_above[statistics.kept]
    return torch.from_numpy(log_units(low, high)) if np.isfinite(low).any() else None


def encode_graph(checkpoint: Checkpoint, grid: int | None = None) -> ExportedProgram:
    """Return encoding as a graph of torch.export, for any number of rows.

    Parameters
    ----------
    checkpoint : Checkpoint
    grid : int, optional
        Height and width of the initial fields, for a model that reads them.

    Raises
    ------
    SpinlockError
        When the model reads fields and their size is not given, or too small.
    """
    channels = checkpoint.model.shape.field_channels
    columns = torch.zeros(EXAMPLE_ROWS, len(checkpoint.header.columns), dtype=torch.float64)
    program = EncodeProgram(checkpoint.model, checkpoint.statistics)
    if channels is None:
        return _traced(program, columns)
    if grid is None:
        raise SpinlockError(
            "this model reads initial fields, and a graph is made for one size of them",
            remedy="give the size: --grid, a number of points",
        )
    for part in program.modules():  # before tracing, which would hide the message
        if isinstance(part, FieldReader):
            part.require_room(grid, grid)
    return _traced(program, columns, torch.zeros(EXAMPLE_ROWS, channels, grid, grid))


def decode_graph(checkpoint: Checkpoint) -> ExportedProgram:
    """Return decoding, of all levels, as a graph of torch.export, for any number of rows."""
    sizes = checkpoint.model.quantizer.sizes
    tokens = torch.zeros(EXAMPLE_ROWS, *sizes.shape, dtype=torch.int64)
    return _traced(DecodeProgram(checkpoint.model, checkpoint.statistics), tokens)


def _traced(program: nn.Module, *inputs: Tensor) -> ExportedProgram:
    # a copy, since the weights in a graph must not ask for gradients
    frozen = copy.deepcopy(program).eval().requires_grad_(False)
    rows = Dim("rows")
    with _sober():
        return torch.export.export(frozen, inputs, dynamic_shapes=tuple({0: rows} for _ in inputs))


def write_graph(graph: ExportedProgram, path: Path) -> None:
    """Write a graph for torch.export.load (.pt2)."""
    buffer = io.BytesIO()  # on a full disk torch would end the process
    with _sober():
        torch.export.save(graph, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def write_onnx(graph: ExportedProgram, path: Path, inputs: list[str], output: str) -> None:
    """Write a graph for ONNX runtimes."""
    with atomic_path(path) as temporary, _sober():
        program = torch.onnx.export(
            with_float64_operations(graph),
            dynamo=True,
            input_names=inputs,
            output_names=[output],
            verbose=False,
        )
        program.save(temporary, external_data=False)


@contextmanager
def _sober() -> Iterator[None]:
    """Leave out what the exporters say about packages and steps that nobody asked about."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
