"""export: write a model for other programs.

Reads best_model.pt; writes into one folder model.safetensors with model.json, and encode and
decode as .pt2 (torch.export) and .onnx.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from spinlock.errors import SpinlockError, memory_for, require_packages
from spinlock.files import refusal_told, refuse_replacing
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.plain_files import is_plain_model, read_model, write_safetensors

log = logging.getLogger(__name__)

PACKAGES = {"safetensors": ("safetensors",), "torch": (), "onnx": ("onnx", "onnxscript")}
FORMATS = tuple(PACKAGES)


@memory_for("export", "export fewer formats at once (--format), or give the process more memory")
def run(
    model: Path, output: Path, formats: Sequence[str] = FORMATS, grid: int | None = None
) -> list[Path]:
    """Write a model in some formats; return the files.

    `grid` is the height and width of the initial fields, for a model that reads them.

    Raises
    ------
    SpinlockError
        When a grid is given for a model that reads no fields, or it is too small for the model.
    """
    # what cannot be written is said before anything is
    for kind in formats:
        require_packages("export", *PACKAGES[kind])
    checkpoint = read_model(model)
    if grid is not None and checkpoint.model.shape.field_channels is None:
        raise SpinlockError(
            "a grid is given, and this model reads no initial fields",
            where=model,
            remedy="leave --grid out",
        )
    refuse_replacing(output / "model.json", is_plain_model)
    with refusal_told(output):
        output.mkdir(parents=True, exist_ok=True)
    written = []
    if {"torch", "onnx"} & set(formats):
        written += _write_graphs(checkpoint, output, formats, grid)
    if "safetensors" in formats:
        write_safetensors(checkpoint, output / "model.safetensors")
        written += [output / "model.safetensors", output / "model.json"]
    return written


def _write_graphs(
    checkpoint: Checkpoint, output: Path, formats: Sequence[str], grid: int | None
) -> list[Path]:
    from spinlock.tokenizer import graphs  # noqa: PLC0415 (torch.export is slow to import)

    inputs = ["features"] + ["fields"] * (checkpoint.model.shape.field_channels is not None)
    programs = {
        "encode": (partial(graphs.encode_graph, checkpoint, grid), inputs, "tokens"),
        "decode": (partial(graphs.decode_graph, checkpoint), ["tokens"], "features"),
    }
    written = []
    for name, (trace, names_in, name_out) in programs.items():
        log.info("tracing %s", name)
        graph = trace()
        if "torch" in formats:
            written.append(output / f"{name}.pt2")
            graphs.write_graph(graph, written[-1])
        if "onnx" in formats:
            written.append(output / f"{name}.onnx")
            log.info("writing %s", written[-1])
            graphs.write_onnx(graph, written[-1], names_in, name_out)
    return written
