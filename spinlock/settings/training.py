"""Sections `training` and `logging`: categories, losses, optimisation, what a training tells."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spinlock.settings.section import FilePath, Section, setting

CLUSTER = ("cluster",)


class Training(Section):
    """How categories are found and how the model is trained."""

    # batch statistics need two rows
    batch_size: int = setting(
        512, "rows per gradient step; a last one that is alone is left out", ge=2, le=2**31 - 1
    )
    learning_rate: float = setting(0.001, "of the optimiser", gt=0)
    num_epochs: int = setting(500, "passes over the train rows", ge=0)
    optimizer: Literal["adam", "adamw", "sgd"] = setting("adam", "adam, adamw or sgd")
    scheduler: Literal["cosine", "step", "plateau"] | None = setting(
        None,
        "null (constant), cosine (falling to almost zero), step (a tenth after each 30 % of the "
        "epochs) or plateau (a half after five validations without a gain)",
    )
    warmup_epochs: int = setting(0, "epochs of linear warm-up", ge=0)
    input_noise: float = setting(
        0.2, "standard deviation of the noise on the encoder's input in training", ge=0
    )

    category_assignment: Literal["auto", "manual"] = setting(
        "auto", "auto, or manual with category_mapping_file", stages=CLUSTER
    )
    category_mapping_file: FilePath | None = setting(
        None, "JSON {category: [column indices or feature names]}", stages=CLUSTER
    )
    num_categories_auto: Annotated[int, Field(ge=1)] | Literal["validation"] | None = setting(
        None,
        "null: by silhouette under orthogonality_target, of the numbers that can hold "
        "model.bits; a number; "
        "or validation: by held-out R² at model.bits, in minutes (docs/tuning.md)",
        stages=CLUSTER,
    )
    category_correlation: Literal["spearman", "pearson"] = setting(
        "spearman", "correlation of the columns that are clustered", stages=CLUSTER
    )
    orthogonality_target: float = setting(
        0.15,
        "largest mean |cosine| between category centroids that K by silhouette may have",
        stages=("cluster_by_silhouette", "visualize"),
        gt=0,
        le=1,
    )
    min_features_per_category: int | None = setting(
        None,
        "smaller clusters join the nearest one; null: 3, or 1 where there would be too few "
        "categories to hold model.bits",
        stages=CLUSTER,
        ge=1,
    )
    max_clusters: int = setting(
        25, "largest number of categories that is tried", stages=CLUSTER, ge=2
    )

    reconstruction_weight: float = setting(1.0, "of the squared error of all columns", ge=0)
    vq_weight: float = setting(1.0, "of commitment (and of the codes' loss without EMA)", ge=0)
    orthogonality_weight: float = setting(
        0.1, "of the dependence between categories and between codes of a category", ge=0
    )
    informativeness_weight: float = setting(
        0.1, "of the partial decoders, levels 0..l of a category to its own columns", ge=0
    )
    topo_weight: float = setting(0.3, "of 1 − correlation of input and code distances", ge=0)
    topo_samples: int = setting(512, "rows of a batch whose distances are compared", ge=3)

    checkpoint_dir: FilePath = setting(
        "checkpoints/vqvae", "output folder of `spinlock train-vqvae`", stages=(), min_length=1
    )
    save_every: int | None = setting(
        None, "epochs between checkpoint_epoch_NNNN.pt; null: none", ge=1
    )
    early_stopping_patience: int = setting(
        100, "epochs without improvement before training ends", ge=1
    )
    early_stopping_min_delta: float = setting(
        0.001, "fall of the validation loss that counts as improvement", ge=0
    )
    dead_code_reset_interval: int = setting(
        100, "epochs between resets of dead codes; 0: never", ge=0
    )
    dead_code_threshold: float = setting(
        10.0, "a code is dead below 1/threshold of a uniform share of use", gt=0
    )
    dead_code_max_reset_fraction: float = setting(
        0.25,
        "largest part of a book that is reset at once, rounded down to whole codes",
        ge=0,
        le=1,
    )
    val_every_n_epochs: int = setting(5, "epochs between validations", ge=1)
    memory_budget: float = setting(
        1.0,
        "GiB of normalised rows that stay in memory; more are read from a file, batch by batch "
        "(a GPU holds all of them)",
        stages=(),
        ge=0,
    )
    use_torch_compile: bool = setting(
        True,
        "compile the training step where a compiler works: about 40 s once, and batches that "
        "are a quarter quicker on a CPU, so it pays from 5,000 batches of 512 rows, or 19,000 of "
        "32",
        stages=(),
    )

    @property
    def manual_mapping(self) -> Path | None:
        """The file of manual categories; None where they are found automatically."""
        given = self.category_assignment == "manual" and self.category_mapping_file
        return Path(given) if given else None

    @model_validator(mode="after")
    def _mapping_is_given(self) -> Self:
        if self.category_assignment == "manual" and not self.category_mapping_file:
            raise ValueError("category_assignment: manual needs category_mapping_file")
        return self


class Logging(Section):
    """What a training says while it runs; nothing here changes a result."""

    wandb: bool = setting(False, "show the training in Weights & Biases (extra: wandb)", stages=())
    log_interval: int = setting(100, "batches between log lines", stages=(), ge=1)
    eval_interval: int | None = setting(
        500, "batches between extra validations; null: none", stages=(), ge=1
    )
    verbose: bool = setting(
        True, "tell what train-vqvae does, not only what is wrong; stages always do", stages=()
    )
