"""The settings of an experiment, and the slice of them that each stage depends on."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from spinlock.settings.analysis import Evaluation, Visualization
from spinlock.settings.data import FeatureCleaning, Split
from spinlock.settings.dataset import join_command
from spinlock.settings.families import Family, reads_fields
from spinlock.settings.model import Model
from spinlock.settings.section import FilePath, Section, setting
from spinlock.settings.training import Logging, Training

EXPERIMENTS, RESULTS = Path("configs/vqvae"), Path("results")  # <name>.yaml, and what it makes
STAGES = ("subset", "normalize", "cluster", "train", "evaluate", "encode", "visualize")
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


class Experiment(Section):
    """Everything that `configs/vqvae/<experiment>.yaml` says."""

    dataset_path: FilePath = setting(
        ...,
        "HDF5 file; datasets/<name>.h5 is simulated if only configs/datasets/<name>.yaml exists",
        stages=("subset",),
        min_length=1,
    )
    allow_external_data: bool = setting(
        False, "follow links of the dataset to other files, which are refused otherwise", stages=()
    )
    max_samples: int | None = setting(
        None, "use the first N operators; null: all", stages=("subset",), ge=4
    )
    split: Split = setting(Split(), "rows for training, validation and test", stages=("subset",))
    # `subset` depends on a part of them, see `stage_settings`
    families: Annotated[dict[str, Family], Field(min_length=1)] = setting(
        ..., "feature families, by name"
    )
    feature_cleaning: FeatureCleaning = setting(
        FeatureCleaning(), "what is dropped and capped", stages=("normalize",)
    )
    normalization_method: Literal["standard", "mad"] = setting(
        "standard",
        "standard (mean, deviation) or mad (median, median absolute deviation)",
        stages=("normalize",),
    )
    model: Model = setting(Model(), "the tokenizer")
    training: Training = setting(Training(), "categories and training", stages=("cluster", "train"))
    evaluation: Evaluation = setting(
        Evaluation(), "what is measured on test rows", stages=("evaluate",)
    )
    visualization: Visualization = setting(
        Visualization(), "what the figures show", stages=("visualize",)
    )
    logging: Logging = setting(Logging(), "what a training says", stages=())
    device: str = setting("auto", "auto, cuda, cuda:N or cpu", stages=())
    random_seed: int = setting(
        42,
        "of the split, of clustering and of training",
        stages=("subset", "cluster", "train", "visualize"),
        ge=0,
        lt=2**31,
    )

    def rows_of(self, n_operators: int) -> int:
        """Return how many operators are read, of so many in the dataset."""
        return min(self.max_samples or n_operators, n_operators)

    @property
    def reads_fields(self) -> bool:
        """Whether an encoder reads initial fields."""
        return reads_fields(family.encoder for family in self.families.values())

    @property
    def labels(self) -> list[str]:
        """Labels of operators that rows are split by, or that a probe predicts."""
        split = self.split
        asked = [split.column, split.group_by, self.evaluation.probe_column]
        return [label for label in asked if label]

    @property
    def coefficients(self) -> dict[str, int | None]:
        """Family → DCT coefficients that are kept of series; None where nothing says how many."""
        return {
            name: getattr(family.encoder_params, "coefficients", None)
            for name, family in self.families.items()
        }

    @field_validator("dataset_path", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        if isinstance(value, list):
            raise ValueError(f"must be one file; join shards: {join_command()}")
        return value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not DEVICE.fullmatch(value):
            raise ValueError("must be auto, cuda, cuda:N or cpu")
        return value

    @field_validator("families")
    @classmethod
    def _in_one_order(cls, value: dict[str, Family]) -> dict[str, Family]:
        """Make the order of the keys in the file irrelevant, also to the order of columns."""
        return dict(sorted(value.items()))

    @model_validator(mode="before")
    @classmethod
    def _training_weights_win(cls, values: Any) -> Any:
        """Let the two weights that stand in both sections have one value in both."""
        if not isinstance(values, dict):
            return values
        model, training = values.get("model", {}), values.get("training", {})
        if not isinstance(model, dict) or not isinstance(training, dict):
            return values
        shared = {
            key: (training if key in training else model)[key]
            for key in ("orthogonality_weight", "informativeness_weight")
            if key in training or key in model
        }
        # what is no number stays, to be refused like any other
        replaced = {k: v for k, v in shared.items() if _is_number(model.get(k, v))}
        return values | {"model": model | replaced, "training": training | shared}

    @model_validator(mode="before")  # the last of them comes first
    @classmethod
    def _empty_sections_are_defaults(cls, values: Any) -> Any:
        """Let a section without settings, null in YAML, be as if it were not there."""
        if not isinstance(values, dict):
            return values
        sections = {
            name
            for name, info in cls.model_fields.items()
            if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
        }
        return {k: v for k, v in values.items() if v is not None or k not in sections}

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        levels = self.model.levels
        if isinstance(levels, dict):
            lengths = {len(one) for one in levels.values()}
            if len(lengths) != 1 or 0 in lengths:
                raise ValueError("model.levels: every category needs the same number of levels")
        return self

    @model_validator(mode="after")
    def _rows_to_validate_on(self) -> Self:
        by_validation = self.training.num_categories_auto == "validation"
        if by_validation and self.split.val_fraction == 0 and not self.split.column:
            raise ValueError(
                "training.num_categories_auto: validation needs split.val_fraction above 0"
            )
        return self


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def stage_settings(experiment: Experiment, stage: str) -> dict[str, Any]:
    """Return the settings that the results of a stage depend on, as plain values.

    Settings that only change how a stage runs (device, logging) are in none.
    """
    names = {stage}
    training = experiment.training
    if stage == "cluster" and training.category_assignment == "auto":
        number = training.num_categories_auto
        names |= {"cluster_by_validation"} if number == "validation" else set()
        names |= {"cluster_by_silhouette"} if number is None else set()
    chosen = _slice(experiment, names)
    for section, key, _ in _without_effect(experiment):
        chosen.get(section, {}).pop(key, None)
    if stage == "subset":  # which families, whatever reads them
        chosen["families"] = {
            name: {
                "coefficients": kept,
                "fields": reads_fields([experiment.families[name].encoder]),
            }
            for name, kept in experiment.coefficients.items()
        }
    return chosen


def doubtful_settings(experiment: Experiment) -> list[str]:
    """Return what is allowed and hardly meant, a sentence each.

    Settings that others leave without effect, where they are not the default; codes that nothing
    trains; a warm-up that does not end.
    """
    said = []
    for section, key, beside in _without_effect(experiment):
        values = getattr(experiment, section)
        if getattr(values, key) != type(values).model_fields[key].get_default():
            said.append(f"{section}.{key} has no effect beside {beside}")
    if not (experiment.training.vq_weight or experiment.model.use_ema):
        said.append("codes do not train: training.vq_weight is 0, and model.use_ema is false")
    warmup, epochs = experiment.training.warmup_epochs, experiment.training.num_epochs
    if 0 < epochs <= warmup:
        said.append(
            f"training.learning_rate is never reached: warmup_epochs, {warmup}, is not below "
            f"num_epochs, {epochs}"
        )
    return said


def _without_effect(experiment: Experiment) -> list[tuple[str, str, str]]:
    """Return the settings, section and key, that others make irrelevant, and which others."""
    training, model = experiment.training, experiment.model
    without: list[tuple[str, str, str]] = []

    def note(section: str, keys: str, beside: str) -> None:
        without.extend((section, key, beside) for key in keys.split())

    if experiment.split.column:
        note("split", "val_fraction test_fraction group_by", "split.column")
    if training.category_assignment == "manual":
        automatic = "num_categories_auto max_clusters min_features_per_category"
        note("training", automatic, "training.category_assignment: manual")
    else:
        note("training", "category_mapping_file", "training.category_assignment: auto")
    if experiment.feature_cleaning.outlier_method == "none":
        note("feature_cleaning", "outlier_bound outliers", "outlier_method: none")
    if not training.topo_weight:
        note("training", "topo_samples", "topo_weight: 0")
    if not training.vq_weight:
        note("model", "commitment_cost", "training.vq_weight: 0")
    if not training.dead_code_reset_interval:
        dead = "dead_code_threshold dead_code_max_reset_fraction"
        note("training", dead, "dead_code_reset_interval: 0")
    if model.books_are_given and training.num_categories_auto != "validation":
        note("model", "bits max_tokens target_quality", "the sizes in model.levels")
    return without


def _slice(section: Section, names: set[str]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    plain = section.model_dump(mode="json")
    for key, info in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section):
            inner = _slice(value, names)
            if inner:
                chosen[key] = inner
        elif names & set(info.json_schema_extra["stages"]):  # type: ignore[arg-type,index]
            chosen[key] = plain[key]
    return dict(sorted(chosen.items()))
