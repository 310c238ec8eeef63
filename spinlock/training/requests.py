"""What settings, table and categories ask of the model and of its training."""

from typing import Any

import numpy as np
import torch

from spinlock.errors import SpinlockError
from spinlock.features.table import FeatureTable
from spinlock.settings import Experiment
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.normalization.statistics import FeatureStatistics
from spinlock.tokenizer.start.book_sizes import BookRequest
from spinlock.tokenizer.start.model import ModelRequest
from spinlock.training.loop import TrainingPlan
from spinlock.training.objective import LossWeights


def training_plan(experiment: Experiment) -> TrainingPlan:
    """Return what the training loop needs of the settings."""
    training, model = experiment.training, experiment.model
    return TrainingPlan(
        num_epochs=training.num_epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        optimizer=training.optimizer,
        scheduler=training.scheduler,
        warmup_epochs=training.warmup_epochs,
        weights=LossWeights(
            reconstruction=training.reconstruction_weight,
            vq=training.vq_weight,
            orthogonality=training.orthogonality_weight,
            informativeness=training.informativeness_weight,
            topographic=training.topo_weight,
            commitment_cost=model.commitment_cost,
            topo_samples=training.topo_samples,
        ),
        input_noise=training.input_noise,
        early_stopping_patience=training.early_stopping_patience,
        early_stopping_min_delta=training.early_stopping_min_delta,
        dead_code_reset_interval=training.dead_code_reset_interval,
        dead_code_threshold=training.dead_code_threshold,
        dead_code_max_reset_fraction=training.dead_code_max_reset_fraction,
        val_every_n_epochs=training.val_every_n_epochs,
        seed=experiment.random_seed,
        compile=training.use_torch_compile,
        log_interval=experiment.logging.log_interval,
        eval_interval=experiment.logging.eval_interval,
    )


def model_request(
    experiment: Experiment,
    table: FeatureTable,
    statistics: FeatureStatistics,
    partition: dict[str, np.ndarray],
) -> ModelRequest:
    """Return the model that settings and categories ask for.

    Parameters
    ----------
    experiment : Experiment
    table : FeatureTable
    statistics : FeatureStatistics
        Of the table's columns: which of them are kept, and their caps.
    partition : dict
        Category → positions among the kept columns.
    """
    model, fields, kept = experiment.model, table.fields(slice(0, 1)), statistics.kept
    shape = ModelShape(
        partition=[members.tolist() for members in partition.values()],
        book_sizes=[],
        column_family=[table.columns[i].family for i in kept],
        encoders={
            name: {"encoder": family.encoder, "encoder_params": family.encoder_params.model_dump()}
            for name, family in experiment.families.items()
        },
        embedding_dim=model.group_embedding_dim,
        hidden_dim=model.group_hidden_dim,
        dropout=model.dropout,
        decay=model.decay,
        use_ema=model.use_ema,
        beam_width=model.beam_width,
        series=_kept_series(table, kept),
        field_channels=None if fields is None else fields.shape[1],
    )
    books = BookRequest(
        bits=model.bits,
        target_quality=model.target_quality,
        max_tokens=model.max_tokens,
        explicit=explicit_levels(experiment, list(partition)),
    )
    return ModelRequest(
        shape,
        books,
        caps=torch.from_numpy(statistics.normalized_caps),
        batch_size=experiment.training.batch_size,
        seed=experiment.random_seed,
    )


def explicit_levels(
    experiment: Experiment, categories: list[str]
) -> list[list[tuple[int | None, int | None]]] | None:
    """Return (latent_dim, num_tokens) [C][L] where the settings give levels, else None.

    Raises
    ------
    SpinlockError
        When a mapping names other categories than there are.
    """
    levels = experiment.model.levels
    if not levels:
        return None
    if isinstance(levels, dict):
        missing = [name for name in categories if name not in levels]
        unknown = [name for name in levels if name not in categories]
        # cleaning may leave nothing of a category that was mapped by hand
        passed_over = experiment.training.manual_mapping is not None and not missing
        if missing or (unknown and not passed_over):
            raise SpinlockError(
                f"model.levels names unknown categories {unknown} and leaves out {missing}",
                remedy=f"give levels for each of {categories}, or one list for all",
            )
        chosen = [levels[name] for name in categories]
    else:
        chosen = [levels] * len(categories)
    return [[(level.latent_dim, level.num_tokens) for level in one] for one in chosen]


def _kept_series(table: FeatureTable, kept: np.ndarray) -> dict[str, dict[str, Any]]:
    described = {}
    for family, series in table.series.items():
        first = next(i for i, column in enumerate(table.columns) if column.family == family)
        place = kept - first
        described[family] = {
            "steps": series.steps,
            "channel": (place // series.coefficients).tolist(),
            "coefficient": (place % series.coefficients).tolist(),
        }
    return described
