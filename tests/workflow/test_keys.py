"""Where a change of each settings key makes the workflow start again: every key, one stage."""

import json
from itertools import chain
from typing import get_args

import pytest
from pydantic import BaseModel

from spinlock.operators.dataset_files import shards
from spinlock.results import continuation, model_settings
from spinlock.settings import (
    STAGES,
    Experiment,
    OperatorDatasetSettings,
    simulation_settings,
    stage_settings,
)
from spinlock.settings.families import ENCODER_PARAMS
from spinlock.settings.section import Section
from spinlock.stages import (
    cluster,
    encode,
    evaluate,
    normalize,
    subset,
    train,
    visualize,
)

# the first stage that reruns; what follows it reruns too, and nothing before it
FIRST_STAGE = {
    "subset": """
        dataset_path max_samples random_seed families.encoder
        split.val_fraction split.test_fraction split.group_by split.column
        TemporalCNNEncoder.coefficients
    """,
    "normalize": """
        normalization_method feature_cleaning.max_missing_fraction
        feature_cleaning.variance_tolerance feature_cleaning.deduplicate_threshold
        feature_cleaning.outlier_method feature_cleaning.outlier_bound feature_cleaning.outliers
    """,
    "cluster": """
        training.category_assignment training.category_mapping_file training.num_categories_auto
        training.category_correlation training.orthogonality_target
        training.min_features_per_category training.max_clusters
        model.levels model.levels.latent_dim model.levels.num_tokens model.bits model.max_tokens
        model.target_quality
    """,  # the last six where the number of categories is chosen, as it is here
    "train": """
        model.group_embedding_dim model.group_hidden_dim model.beam_width
        model.commitment_cost model.use_ema model.decay model.dropout
        model.orthogonality_weight model.informativeness_weight
        training.batch_size training.learning_rate training.num_epochs training.optimizer
        training.scheduler training.warmup_epochs training.input_noise
        training.reconstruction_weight training.vq_weight training.orthogonality_weight
        training.informativeness_weight training.topo_weight training.topo_samples
        training.save_every training.early_stopping_patience training.early_stopping_min_delta
        training.dead_code_reset_interval training.dead_code_threshold
        training.dead_code_max_reset_fraction training.val_every_n_epochs
        MLPEncoder.hidden_dims MLPEncoder.output_dim MLPEncoder.dropout MLPEncoder.activation
        MLPEncoder.batch_norm
        TemporalCNNEncoder.channels TemporalCNNEncoder.kernel_size TemporalCNNEncoder.output_dim
        TemporalCNNEncoder.dropout TemporalCNNEncoder.activation
        InitialCNNEncoder.channels InitialCNNEncoder.kernel_size InitialCNNEncoder.output_dim
        InitialCNNEncoder.dropout InitialCNNEncoder.activation
        InitialHybridEncoder.channels InitialHybridEncoder.kernel_size
        InitialHybridEncoder.output_dim InitialHybridEncoder.dropout
        InitialHybridEncoder.activation InitialHybridEncoder.hidden_dims
        InitialHybridEncoder.batch_norm
    """,
    "evaluate": "evaluation.baselines evaluation.probe_column evaluation.max_pair_rows "
    "evaluation.memory_budget",
    "visualize": "visualization.projection visualization.color_by visualization.max_points",
    # how a stage runs, not what it gives
    "nothing": """
        device allow_external_data training.checkpoint_dir training.use_torch_compile
        training.memory_budget
        logging.wandb logging.log_interval logging.eval_interval logging.verbose
    """,
}
EXPECTED = {key: stage for stage, keys in FIRST_STAGE.items() for key in keys.split()}
EXAMPLE = {"dataset_path": "data.h5", "families": {"summary": {"encoder": "MLPEncoder"}}}
# where a value is not a number, a truth or one of a few words
OTHER_VALUES = {
    "dataset_path": "other.h5",
    "max_samples": 100,
    "families.encoder": "InitialCNNEncoder",
    "split.group_by": "meta/system",
    "split.column": "meta/split",
    "model.levels": [{}, {}],
    "model.levels.latent_dim": 2,
    "model.levels.num_tokens": 4,
    "model.target_quality": 0.9,
    "model.max_tokens": 64,
    "training.category_mapping_file": "other.json",
    "training.num_categories_auto": 5,
    "training.min_features_per_category": 4,
    "training.scheduler": "cosine",
    "training.save_every": 5,
    "training.checkpoint_dir": "elsewhere",
    "evaluation.probe_column": "meta/system",
    "visualization.color_by": "summary/x",
    "device": "cpu",
}


def models_in(annotation: object) -> list[type[BaseModel]]:
    """Return the sections that a key may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(chain.from_iterable(models_in(one) for one in get_args(annotation)))


def keys_of(model: type[BaseModel], path: str = "") -> dict[str, object]:
    """Return the keys of a section and of those in it, with their defaults."""
    found: dict[str, object] = {}
    for key, info in model.model_fields.items():
        for inner in models_in(info.annotation):
            found |= keys_of(inner, f"{path}{key}.")
        # a section is no key of its own, and the parameters of encoders are listed by encoder
        if not isinstance(info.default, BaseModel) and key not in {"families", "encoder_params"}:
            found[path + key] = info.default
    return found


def all_keys() -> dict[str, object]:
    found = keys_of(Experiment)
    for encoder, params in ENCODER_PARAMS.items():
        found |= keys_of(params, f"{encoder}.")
    return found


def other_value(key: str, default: object) -> object:
    if key in OTHER_VALUES:
        return OTHER_VALUES[key]
    section, _, name = key.rpartition(".")
    model: type[BaseModel] = ENCODER_PARAMS.get(section, Experiment)
    for part in section.split(".") if model is Experiment and section else []:
        model = models_in(model.model_fields[part].annotation)[0]
    choices = [one for one in get_args(model.model_fields[name].annotation) if one != default]
    if isinstance(default, bool):
        return not default
    if choices and isinstance(choices[0], str):
        return choices[0]
    if isinstance(default, list):
        return [*default, 7]
    return default + 2 if isinstance(default, int) else default / 2


def experiments(key: str, value: object) -> tuple[Experiment, Experiment]:
    """Return an experiment that has the key, and the same with another value of it."""
    section, _, name = key.rpartition(".")
    before: dict = {**EXAMPLE, "training": {"category_mapping_file": "map.json"}}
    if key == "training.category_mapping_file":  # which is read where it gives the categories
        before["training"] |= {"category_assignment": "manual"}
    if section in ENCODER_PARAMS:
        encoder = {"encoder": section}
        before["families"] = {"summary": encoder}
        after = before | {"families": {"summary": encoder | {"encoder_params": {name: value}}}}
    elif section == "families":
        after = before | {"families": {"summary": {name: value}}}
    elif section == "model.levels":
        before["model"] = {"levels": [{}]}
        after = before | {"model": {"levels": [{name: value}]}}
    elif section:
        after = before | {section: before.get(section, {}) | {name: value}}
    else:
        after = before | {name: value}
    return Experiment.model_validate(before), Experiment.model_validate(after)


def test_every_key_of_the_settings_belongs_to_a_stage():
    assert all_keys().keys() == EXPECTED.keys()
    assert EXPECTED.keys() >= OTHER_VALUES.keys()


@pytest.mark.parametrize("key", sorted(EXPECTED.keys() - {"logging.wandb"}))  # needs a package
def test_a_change_of_a_key_starts_again_at_its_stage(key):
    before, after = experiments(key, other_value(key, all_keys()[key]))
    assert before != after
    noticed = [s for s in STAGES if stage_settings(before, s) != stage_settings(after, s)]
    assert (noticed or ["nothing"])[0] == EXPECTED[key]


@pytest.fixture
def reads(monkeypatch):
    """Give a function that calls another, and returns the keys of an experiment that it read."""

    def keys_read(experiment, function):
        read = set()
        names = section_names(experiment)

        def noting(section, name):
            value = object.__getattribute__(section, name)
            inner = id(section) in names and name in type(section).model_fields
            if inner and not isinstance(value, Section):
                read.add(names[id(section)] + name)
            return value

        with monkeypatch.context() as patch:
            # what is told apart by a digest reads all keys
            patch.setattr(continuation, "stage_settings", lambda *_: {})
            patch.setattr(model_settings, "model_settings", lambda _: {"train": {"training": {}}})
            patch.setattr(Section, "__getattribute__", noting)
            function()
        return read

    return keys_read


def section_names(section: Section, path: str = "") -> dict[int, str]:
    """Return the identity of each section, with what stands before its keys."""
    found = {id(section): path}
    for key in type(section).model_fields:
        if isinstance(inner := getattr(section, key), Section):
            found |= section_names(inner, f"{path}{key}.")
    return found


def tracked(experiment: Experiment, stage: str) -> set[str]:
    """Return the keys whose change reruns a stage."""
    chosen = stage_settings(experiment, stage)
    inner = {key for key, value in experiment if isinstance(value, Section)}
    return {
        name
        for key, value in chosen.items()
        for name in ([f"{key}.{one}" for one in value] if key in inner else [key])
    }


@pytest.mark.parametrize("number", [None, 3, "validation", "manual"])
def test_a_stage_reads_nothing_that_does_not_rerun_it(
    number, reads, planted_features, write_dataset, tmp_path
):
    dataset = write_dataset(planted_features(100))
    at = {name: tmp_path / name for name in (
        "subset.h5", "statistics.npz", "categories.json", "silhouette.csv", "linkage.npz",
        "best_model.pt", "metrics.json", "baselines.csv", "tokens.h5", "tokens.parquet", "figures",
        "report.html", "mapping.json",
    )}  # fmt: skip
    at["mapping.json"].write_text(json.dumps({"a": list(range(5)), "b": list(range(5, 17))}))
    manual = {"category_assignment": "manual", "category_mapping_file": str(at["mapping.json"])}
    categories = manual if number == "manual" else {"num_categories_auto": number}
    training = {"num_epochs": 1, "batch_size": 32, "use_torch_compile": False, **categories}
    experiment = Experiment.model_validate({
        "dataset_path": str(dataset),
        "families": {"architecture": {}, "summary": {}},
        "model": {"bits": 24, "group_hidden_dim": 4, "group_embedding_dim": 4},
        "training": training,
        "visualization": {"projection": "tsne"},
        "device": "cpu",
    })  # fmt: skip
    table, statistics, found, silhouette, linkage, model, metrics, baselines, tokens, *rest = (
        at.values()
    )
    parquet, figures, report, _ = rest
    runs = {
        "subset": lambda: subset.run(experiment, [dataset], table),
        "normalize": lambda: normalize.run(experiment, table, statistics),
        "cluster": lambda: cluster.run(
            experiment, table, statistics, found, silhouette, linkage
        ),
        "train": lambda: train.run(experiment, table, statistics, found, model),
        "evaluate": lambda: evaluate.run(experiment, model, table, metrics, baselines),
        "encode": lambda: encode.run(model, [dataset], tokens, parquet, table, experiment),
        "visualize": lambda: visualize.run(
            experiment, model, table, silhouette, linkage, metrics, baselines, tokens,
            figures, report,
        ),
    }  # fmt: skip
    assert tuple(runs) == STAGES
    untracked = {
        stage: reads(experiment, run)
        - tracked(experiment, stage)
        - set(FIRST_STAGE["nothing"].split())
        for stage, run in runs.items()
    }
    # where the number is given, these only decide on a warning
    books = {"model.levels", "model.bits", "model.max_tokens", "model.target_quality"}
    warning = books if number == 3 else set()
    # what later stages would refuse is refused first
    refused = {"evaluation.probe_column", "visualization.color_by"}
    allowed = {"cluster": warning, "subset": refused}
    assert untracked == {stage: set() for stage in STAGES} | allowed


@pytest.mark.parametrize("key", OperatorDatasetSettings.model_fields)
def test_a_change_of_a_datasets_key_simulates_anew_or_changes_only_the_files(key):
    before = OperatorDatasetSettings(num_operators=100, shard_size=50)
    default = getattr(before, key)
    other = default[:1] if isinstance(default, list) else default + 1
    after = before.model_copy(update={key: other})
    size_only = key in {"num_operators", "shard_size"}
    assert (simulation_settings(before) == simulation_settings(after)) == size_only
    assert (shards("x", before) != shards("x", after)) == size_only
