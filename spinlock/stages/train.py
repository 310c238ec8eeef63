"""train: train the Categorical Hierarchical VQ-VAE.

Reads subset.h5, feature_statistics.npz and categories.json; writes best_model.pt and, next to
it, normalization_stats.npz, training_history.json, config.yaml, provenance.json,
checkpoint_epoch_*.pt when `training.save_every` is set, and state/last.pt, from which a
training that was cut off goes on.
With `--processes N`, N processes train together, one per GPU where the device is cuda: a batch is
shared among them, so without dropout the result is that of one process up to rounding.
"""

import copy
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from spinlock.errors import memory_for
from spinlock.features.split import TRAIN, VALIDATION
from spinlock.features.table import FeatureTable
from spinlock.files import atomic_path, sole_writer, write_json, write_text
from spinlock.program import execute, experiment_of, stage_parser
from spinlock.progress import progress_bar
from spinlock.results.continuation import state_to_go_on_from, training_stamp, whole_stamp
from spinlock.results.training_files import checkpoints, read_fitted
from spinlock.settings import Experiment, to_yaml
from spinlock.termination import delayed_termination, end_with_parent
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.device import choose_device
from spinlock.tokenizer.network.freed_memory import return_freed_memory
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.processes import (
    process_count,
    process_group,
    process_rank,
    started_together,
)
from spinlock.training.beginning import begin
from spinlock.training.loop import Trainer
from spinlock.training.provenance import describe_run, files_digest
from spinlock.training.refinement import refine
from spinlock.training.requests import model_request, training_plan
from spinlock.training.resume import SavedState, bad_state_told
from spinlock.training.row_store import RowStore
from spinlock.training.summary import summary_metrics
from spinlock.training.tracking import Tracker, tracked

log = logging.getLogger(__name__)


@memory_for(
    "train",
    "lower training.memory_budget, training.batch_size, training.topo_samples, model.bits or "
    "max_samples, or give the job more memory",
)
def run(
    config: Path | Experiment,
    subset: Path,
    statistics: Path,
    categories: Path,
    output: Path,
    resume_from: Path | None = None,
) -> None:
    """Train a model and write it with everything that belongs to it."""
    experiment = experiment_of(config)
    device = choose_device(experiment.device)
    with process_group(device):
        _run(experiment, device, subset, statistics, categories, output, resume_from)


def _run(
    experiment: Experiment,
    device: torch.device,
    subset: Path,
    statistics: Path,
    categories: Path,
    output: Path,
    resume_from: Path | None,
) -> None:
    plan = training_plan(experiment)
    data = files_digest([subset, statistics, categories])
    stamp = training_stamp(experiment) | {"data": data}
    whole = whole_stamp(experiment, device, resume_from, stamp)
    saved = SavedState(output.parent / "state" / "last.pt", whole)
    state = saved.read()
    source = saved.path
    if state is None and resume_from:
        source = resume_from
        state = state_to_go_on_from(experiment, resume_from, stamp)
    with FeatureTable(subset) as table:
        fitted, partition = read_fitted(table, statistics, categories)
        store = RowStore(output.parent, experiment.training.memory_budget, device)
        train, validation = store.read(table, fitted, (TRAIN, VALIDATION))
        request = model_request(experiment, table, fitted, partition)
        header, subset_digest = table.header, table.digest
    with nullcontext() if state is None else bad_state_told(source):
        trainer = begin(request, train, validation, plan, state)
    checkpoint = Checkpoint(
        model=trainer.model,
        header=header,
        statistics=fitted,
        categories=partition,
        config=experiment.model_dump(mode="json"),
        provenance=describe_run(experiment.random_seed, device)
        | {"dataset": header.source_digest, "subset": subset_digest}
        | stamp,
    )
    first = process_rank() == 0  # it writes what all of them have
    if first and state is None:
        for path in checkpoints(output.parent):  # of an earlier training: they would be mixed
            path.unlink()
    with tracked(experiment.logging.wandb and first, output.parent, checkpoint.config) as tracker:
        _train(trainer, checkpoint, saved, output.parent, experiment.training.save_every, tracker)
        if not first:
            return
        _record(trainer, checkpoint)
        _finish(trainer, checkpoint)
        tracker.show_result(checkpoint.metrics)
    _write_outputs(checkpoint, experiment, output)
    saved.discard()
    log.info("validation loss %.5f, %s", checkpoint.val_loss, checkpoint.metrics)


def _train(
    trainer: Trainer,
    checkpoint: Checkpoint,
    saved: SavedState,
    folder: Path,
    save_every: int | None,
    tracker: Tracker,
) -> None:
    columns = (
        TextColumn("train"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("validation loss {task.fields[loss]:.5f}"),
        TimeRemainingColumn(),
    )
    together = process_count() > 1
    with (
        progress_bar(*columns) as progress,
        nullcontext(lambda: None) if together else delayed_termination() as asked_to_end,
    ):

        def at_rest() -> None:
            if together:  # the place in an epoch is each process's own: saved between epochs only
                return
            number = asked_to_end()
            saved.save(trainer, now=number is not None)
            if number is not None:
                log.info("stopped in epoch %d, which is saved", trainer.epoch)
                sys.exit(128 + number)

        task = progress.add_task("train", total=trainer.plan.num_epochs, loss=float("nan"))
        for entry in trainer.run(at_rest):
            epoch = entry["epoch"]
            progress.update(task, completed=epoch, loss=entry.get("val_loss", float("nan")))
            log.debug("%s", entry)
            if process_rank() > 0:
                continue  # the first process writes what all of them have
            tracker.show_epoch(entry)
            saved.save(trainer, now=epoch == 0 or trainer.finished)
            if save_every and epoch and epoch % save_every == 0:
                _record(trainer, checkpoint)
                checkpoint.save(folder / f"checkpoint_epoch_{epoch:04d}.pt")


def _record(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Put the present state of the training into the checkpoint, without a copy of its weights."""
    checkpoint.training_state = trainer.state_dict()
    checkpoint.optimizer_state = checkpoint.training_state.pop("optimizer")
    checkpoint.history = list(trainer.history)
    checkpoint.val_loss = trainer.best.val_loss


def _finish(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Take the best model, refine it, and say how good it is on validation rows."""
    model, validation = trainer.model, trainer.validation_rows
    trainer.optimizer.zero_grad(set_to_none=True)
    return_freed_memory()
    # the training goes on from its last weights, should it ever
    checkpoint.training_state["model"] = copy.deepcopy(model.state_dict())
    model.load_state_dict(trainer.best.weights)
    _tell_of_silent_networks(model)
    steps = refine(model, trainer.train_rows, validation, trainer.plan.seed)
    checkpoint.history = trainer.history + steps
    accepted = [step["val_loss"] for step in steps if step["accepted"]]
    checkpoint.val_loss = min([trainer.best.val_loss, *accepted])
    checkpoint.metrics = summary_metrics(
        model, validation, trainer.train_mean, list(checkpoint.categories.values())
    )


def _tell_of_silent_networks(model: TokenizerModel) -> None:
    """Tell where encoder networks, which start at nothing, have no part in the model."""
    if not len(model.encoder.networks) or model.encoder.head.weight.any():
        return
    log.info("the start from data is kept, in which encoder networks have no part")
    if model.shape.field_channels is not None:
        log.warning("initial fields have no part in the tokens, though the model asks for them")


def _write_outputs(checkpoint: Checkpoint, experiment: Experiment, output: Path) -> None:
    folder = output.parent
    with atomic_path(folder / "normalization_stats.npz") as path, path.open("wb") as file:
        arrays = {
            f"{category}/{name}": array
            for category, entry in checkpoint.category_normalization().items()
            for name, array in entry.items()
        }
        np.savez(file, **arrays)
    write_json(folder / "training_history.json", checkpoint.history, indent=1)
    write_text(folder / "config.yaml", to_yaml(experiment))
    write_json(folder / "provenance.json", checkpoint.provenance, indent=1)
    checkpoint.save(output)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--subset", type=Path, required=True)
    parser.add_argument("--statistics", type=Path, required=True)
    parser.add_argument("--categories", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume-from", type=Path)
    parser.add_argument(
        "--processes", type=int, default=1, help="that train together; 0, of no GPUs, is 1"
    )

    def program(processes: int, **arguments: Path) -> None:
        if started_together():
            end_with_parent(os.getppid())
            run(**arguments)
            return
        with sole_writer(arguments["output"].parent):
            if processes < 2:
                run(**arguments)
                return
            # torch may be built without what starts processes
            from spinlock.training.launch import start_together  # noqa: PLC0415

            start_together(processes, sys.argv[1:] if argv is None else argv)

    execute(program, parser, argv)


if __name__ == "__main__":
    main()
