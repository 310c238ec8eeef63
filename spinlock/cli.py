"""The command line: `spinlock train-vqvae`, and what works on datasets, models and results."""

import io
import json
import logging
import os
import sys
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from spinlock.display import (
    OutputRefused,
    out,
    print_dataset,
    print_json,
    print_measured,
    print_summary,
    print_table,
    show_log,
)
from spinlock.errors import SpinlockError, refused_files_told
from spinlock.termination import orderly_termination

log = logging.getLogger(__name__)

app = typer.Typer(
    name="spinlock",
    help="A discrete vocabulary of behaviour for simulated operators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Verbose = Annotated[bool, typer.Option("--verbose", help="Log in detail; tracebacks on errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
External = Annotated[
    bool, typer.Option("--allow-external", help="Follow links of the dataset to other files.")
]
Model = Annotated[Path, typer.Option(help="best_model.pt, a checkpoint or model.safetensors.")]
Dataset = Annotated[list[Path], typer.Argument(help="HDF5 file, or its shards in order.")]


class ExportFormat(StrEnum):
    """What `export` writes."""

    SAFETENSORS = "safetensors"
    TORCH = "torch"
    ONNX = "onnx"


def _show_version(wanted: bool) -> None:
    if wanted:
        from spinlock import __version__

        out.print(f"spinlock {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _of_no_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Take what is asked of the program itself."""


@app.command("train-vqvae")
def train_vqvae(
    config: Annotated[Path, typer.Option(help="A file of configs/vqvae.")],
    verbose: Verbose = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check settings and dataset, and stop.")
    ] = False,
    resume_from: Annotated[
        Path | None, typer.Option(help="best_model.pt or checkpoint_epoch_*.pt to go on from.")
    ] = None,
    dataset: Annotated[Path | None, typer.Option(help="dataset_path.")] = None,
    epochs: Annotated[int | None, typer.Option(help="training.num_epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="training.batch_size.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="training.learning_rate.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Output folder [default: checkpoint_dir/CONFIG_NAME].")
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="CPU threads at most, as of the rule train.")
    ] = 8,
) -> None:
    """Train a tokenizer, without Snakemake: the same stages, the same model.

    Example: `spinlock train-vqvae --config configs/vqvae/arch_summary.yaml --epochs 10`
    """
    from spinlock.settings import doubtful_settings, load_experiment, to_yaml

    overrides = {
        "dataset_path": None if dataset is None else str(dataset),
        "training.num_epochs": epochs,
        "training.batch_size": batch_size,
        "training.learning_rate": learning_rate,
        "device": device,
    }
    given = {key: value for key, value in overrides.items() if value is not None}
    experiment = load_experiment(config, given)
    show_log(verbose or experiment.logging.verbose)
    for sentence in doubtful_settings(experiment):
        log.warning("%s", sentence)
    from spinlock.commands import train_vqvae as command
    from spinlock.commands.preconditions import require_own_folder
    from spinlock.program import limit_threads, usable_cores

    folder = output or Path(experiment.training.checkpoint_dir) / config.stem
    if output is None:
        require_own_folder(folder, config)
    if dry_run:
        data = command.dry_run(experiment, folder, resume_from, config)
        out.print(to_yaml(experiment), highlight=False, soft_wrap=True)
        out.print(f"# dataset: {json.dumps(data)}", highlight=False, soft_wrap=True)
        out.print(f"# would write: {folder}", highlight=False, soft_wrap=True)
        return
    limit_threads(min(threads, usable_cores()))
    out.print(str(command.run(experiment, folder, resume_from, config)), soft_wrap=True)


@app.command()
def generate(
    config: Annotated[Path, typer.Option(help="A file of configs/datasets.")],
    output: Annotated[
        Path | None, typer.Option(help="HDF5 file [default: datasets/CONFIG_NAME.h5].")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes [default: all cores].")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Simulate a dataset of operators.

    Example: `spinlock generate --config configs/datasets/baseline_1k.yaml`
    """
    from spinlock.commands import generate as command

    show_log(verbose)
    target = output or Path("datasets") / f"{config.stem}.h5"
    command.run(config, target, workers)
    out.print(str(target), soft_wrap=True)


@app.command()
def inspect(
    dataset: Dataset,
    allow_external: External = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show families, shapes, gaps, constants, labels and memory of a dataset.

    Example: `spinlock inspect datasets/baseline_10k/shard_*.h5`
    """
    from spinlock.features.dataset import open_dataset
    from spinlock.features.inspection import inspect_dataset

    show_log(verbose)
    with open_dataset(dataset, external=allow_external) as source:
        found = inspect_dataset(source)
    if as_json:
        print_json(found)
    else:
        print_dataset(found)


@app.command()
def encode(
    dataset: Dataset,
    model: Model,
    output: Annotated[Path, typer.Option(help="tokens.h5 to write.")],
    parquet: Annotated[Path | None, typer.Option(help="tokens.parquet to write as well.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    allow_external: External = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Turn the operators of a dataset into tokens.

    Example: `spinlock encode data.h5 --model results/arch_summary/best_model.pt --output tokens.h5`
    """
    from spinlock.stages import encode as stage

    show_log(verbose)
    summary = stage.run(
        model, dataset, output, parquet, allow_external=allow_external, device=device
    )
    written = {"written": str(output)} | ({"table": str(parquet)} if parquet else {})
    print_summary(written | summary, as_json)


@app.command()
def decode(
    tokens: Annotated[Path, typer.Argument(help="tokens.h5 of `encode`.")],
    model: Model,
    output: Annotated[Path, typer.Option(help="Table of features: .parquet or .csv.")],
    levels: Annotated[int | None, typer.Option(help="Decode the first levels only.")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Turn tokens back into features, in original units.

    Example: `spinlock decode tokens.h5 --model best_model.pt --output features.parquet --levels 1`
    """
    from spinlock.commands import decode as command

    show_log(verbose)
    summary = command.run(model, tokens, output, levels)
    print_summary({"written": str(output)} | summary, as_json)


@app.command()
def evaluate(
    model: Model,
    dataset: Annotated[
        list[Path] | None,
        typer.Argument(help="Rows to measure on [default: the test rows, subset.h5 by the model]."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Fit other quantisers to the model's train rows.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="metrics.json to write.")] = None,
    allow_external: External = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure a model on its test rows, or on all rows of another dataset.

    Example: `spinlock evaluate --model results/arch_summary/best_model.pt other.h5 --json`
    """
    from spinlock.commands import evaluate as command

    show_log(verbose)
    measured = command.run(
        model, dataset or [], output, baselines=baselines, allow_external=allow_external
    )
    if as_json:
        print_json(measured)
    else:
        print_measured(measured)


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(help="Result folders, or metrics.json files.")],
    as_json: AsJson = False,
) -> None:
    """Show the metrics of experiments side by side.

    Example: `spinlock compare results/arch_summary results/summary_1k`
    """
    from spinlock.commands import compare as command

    table = command.run(results)
    if as_json:
        print_json(table)
        return
    rows = [[name, *[one[name] for one in table.values()]] for name in next(iter(table.values()))]
    print_table(["metric", *table], rows)


@app.command()
def export(
    model: Model,
    output: Annotated[Path, typer.Option(help="Folder to write into.")],
    formats: Annotated[
        list[ExportFormat] | None, typer.Option("--format", help="One or more [default: all].")
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(min=1, help="Size of the initial fields, for a model that reads them."),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a model for other programs: safetensors + JSON, torch.export, ONNX.

    Example: `spinlock export --model best_model.pt --output exported --format onnx`
    """
    from spinlock.commands import export as command

    show_log(verbose)
    with out.status("exporting") if out.is_terminal else nullcontext():
        files = command.run(model, output, formats or list(ExportFormat), grid)
    sizes = {str(path): path.stat().st_size for path in files}
    if as_json:
        print_json({"files": sizes})
        return
    for path, size in sizes.items():
        out.print(f"{path} ({size / 1e6:.1f} MB)", highlight=False, soft_wrap=True)


@app.command()
def verify(
    results: Annotated[Path, typer.Argument(help="A result folder.")],
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Recompute the digests of what a model was made from, and compare.

    Example: `spinlock verify results/arch_summary`
    """
    from spinlock.commands import verify as command

    show_log(verbose)
    states = command.run(results)
    times = command.wall_times(results)
    if as_json:
        print_json(states | {"wall_seconds": times})
    else:
        print_summary(states, as_json=False)
        shown = [f"{name} {seconds:.1f} s" for name, seconds in times.items()]
        if shown:
            out.print(f"wall time: {', '.join(shown)}", highlight=False, soft_wrap=True)
    if {command.DIFFERS, command.UNKNOWN} & set(states.values()):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; a user's mistake gives one message and exit status 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of names that its encoding lacks
    try:
        with orderly_termination(), refused_files_told():
            app()
    except SpinlockError as error:
        if "--verbose" in sys.argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        # of what has no name, as standard output has none: Python would try that once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        what = "cannot show the result: " if isinstance(error, OutputRefused) else ""
        print(f"error: {what}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
