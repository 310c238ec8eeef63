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
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from spinlock.errors import memory_for
from spinlock.features.split import TRAIN, VALIDATION
from spinlock.features.table import FeatureTable
from spinlock.files import atomic_path, file_digest, sole_writer, write_json, write_text
from spinlock.settings import Experiment, stage_settings, to_yaml
from spinlock.source import source_digest
from spinlock.stages.model_settings import differing_settings, training_settings
from spinlock.stages.program import execute, experiment_of, experiment_of_model, stage_parser
from spinlock.stages.progress import progress_bar
from spinlock.stages.training_files import checkpoints, read_categories, read_statistics
from spinlock.termination import delayed_termination, end_with_parent
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.device import choose_device
from spinlock.tokenizer.network.freed_memory import return_freed_memory
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.processes import (
    made_once,
    process_count,
    process_group,
    process_rank,
    started_together,
)
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.normalization.statistics import FeatureStatistics
from spinlock.tokenizer.start.model import ModelRequest, start_model
from spinlock.training.loop import Trainer, TrainingPlan
from spinlock.training.provenance import describe_run, files_digest, settings_digest
from spinlock.training.refinement import refine
from spinlock.training.requests import explicit_levels, model_request, training_plan
from spinlock.training.resume import SavedState, bad_state_told, state_of_checkpoint
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
    whole = _whole_stamp(experiment, device, resume_from, stamp)
    saved = SavedState(output.parent / "state" / "last.pt", whole)
    state = saved.read()
    source = saved.path
    if state is None and resume_from:
        source = resume_from
        state = state_to_go_on_from(experiment, resume_from, stamp)
    with FeatureTable(subset) as table:
        fitted, partition = _fitted(table, statistics, categories)
        store = RowStore(output.parent, experiment.training.memory_budget, device)
        train, validation = store.read(table, fitted, (TRAIN, VALIDATION))
        caps = fitted.normalized_caps
        request = model_request(experiment, table, fitted.kept, partition, caps)
        header, subset_digest = table.header, table.digest
    with nullcontext() if state is None else bad_state_told(source):
        trainer = _trainer(request, train, validation, plan, state)
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


def _whole_stamp(
    experiment: Experiment,
    device: torch.device,
    resume_from: Path | None,
    stamp: Mapping[str, str],
) -> dict[str, str]:
    """Return the stamp of an unfinished training: what all of its result depends on.

    The kind of device, too: random states of one are none of another.
    """
    settings = settings_digest(stage_settings(experiment, "train"))
    start = file_digest(resume_from) if resume_from and resume_from.is_file() else ""
    return {**stamp, "settings": settings, "start": start, "device": device.type}


def _trainer(
    request: ModelRequest,
    train: Rows,
    validation: Rows,
    plan: TrainingPlan,
    state: dict[str, Any] | None,
) -> Trainer:
    """Return a trainer at the start, or where `state` left off."""
    if state is None:
        start = made_once(lambda: _start(request, train, validation))
        return Trainer(_model(request, train, start), train, validation, plan)
    trainer = Trainer(_model(request, train, state), train, validation, plan)
    trainer.load_state_dict(state)
    if trainer.place is None:
        log.info("going on after epoch %d", trainer.epoch)
    else:
        log.info("going on in epoch %d after batch %d", trainer.epoch, trainer.place.done)
    return trainer


def _start(request: ModelRequest, train: Rows, validation: Rows) -> dict[str, Any]:
    """Return the start as what can be sent to another process: sizes of books, and weights."""
    model = start_model(request, train, validation)
    weights = {name: values.cpu() for name, values in model.state_dict().items()}
    return {"book_sizes": model.quantizer.sizes.tolist(), "model": weights}


def _model(request: ModelRequest, train: Rows, state: dict[str, Any]) -> TokenizerModel:
    """Return the model that has the books and weights of a state."""
    model = TokenizerModel(replace(request.shape, book_sizes=state["book_sizes"]))
    model.load_weights(state["model"])
    return model.to(train.x.device)


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


def require_inputs(
    experiment: Experiment, inputs: Sequence[Path], resume_from: Path | None
) -> None:
    """Check that a model can be made from these files, and a training go on with them.

    Parameters
    ----------
    experiment : Experiment
    inputs : sequence of Path
        subset.h5, feature_statistics.npz and categories.json.
    resume_from : Path, optional
        The checkpoint that a training goes on from.

    Raises
    ------
    SpinlockError
        When the settings name categories that there are not, or the checkpoint was made from other
        files.
    """
    subset, statistics, categories = inputs
    with FeatureTable(subset) as table:
        _, partition = _fitted(table, statistics, categories)
    explicit_levels(experiment, list(partition))
    if resume_from is not None:
        stamp = training_stamp(experiment) | {"data": files_digest(inputs)}
        state_to_go_on_from(experiment, resume_from, stamp)


def _fitted(
    table: FeatureTable, statistics: Path, categories: Path
) -> tuple[FeatureStatistics, dict[str, np.ndarray]]:
    """Return the statistics of a table, and the categories of the columns that they keep."""
    fitted = read_statistics(statistics)
    names = [table.columns[i].full_name for i in fitted.kept]
    return fitted, read_categories(categories, names)


def state_to_go_on_from(
    experiment: Experiment, checkpoint: Path, stamp: Mapping[str, str]
) -> dict[str, Any]:
    """Return the training state of a checkpoint, which must share the digests of a stamp.

    Raises
    ------
    SpinlockError
        When it does not, or has trained for longer than the experiment asks for.
    """

    def differing(config: object) -> list[str]:
        return differing_settings(experiment_of_model(config, checkpoint), experiment)

    return state_of_checkpoint(checkpoint, stamp, experiment.training.num_epochs, differing)


def training_stamp(experiment: Experiment) -> dict[str, str]:
    """Return the digests of settings and code that a resumed training must share."""
    return {
        "settings": settings_digest(training_settings(experiment)),
        "code": source_digest("spinlock.stages.train"),
    }


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
