"""The settings of an experiment, and which stages' results depend on each of them."""

import functools
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from spinlock.settings import (
    STAGES,
    Experiment,
    OperatorDatasetSettings,
    doubtful_settings,
    stage_settings,
)
from spinlock.settings.families import ENCODER_PARAMS

KNOWN = {*STAGES, "generate", "cluster_by_validation", "cluster_by_silhouette"}
EXAMPLE = {
    "dataset_path": "data.h5",
    "families": {"summary": {"encoder": "MLPEncoder"}, "temporal": {"encoder": "MLPEncoder"}},
    "training": {"category_mapping_file": "map.json"},
}
# another allowed value for every key: a new key needs one here
OTHER = {
    "dataset_path": "other.h5",
    "allow_external_data": True,
    "max_samples": 100,
    "split.val_fraction": 0.2,
    "split.test_fraction": 0.2,
    "split.group_by": "meta/system",
    "split.column": "meta/split",
    "feature_cleaning.max_missing_fraction": 0.4,
    "feature_cleaning.variance_tolerance": 1e-5,
    "feature_cleaning.deduplicate_threshold": 0.9,
    "feature_cleaning.outlier_method": "none",
    "feature_cleaning.outlier_bound": 4.0,
    "feature_cleaning.outliers": "log",
    "normalization_method": "mad",
    "model.group_embedding_dim": 32,
    "model.group_hidden_dim": 64,
    "model.levels": [{"num_tokens": 8}],
    "model.bits": 100,
    "model.target_quality": 0.9,
    "model.max_tokens": 64,
    "model.beam_width": 2,
    "model.commitment_cost": 0.5,
    "model.use_ema": False,
    "model.decay": 0.9,
    "model.dropout": 0.2,
    "model.orthogonality_weight": 0.2,
    "model.informativeness_weight": 0.2,
    "training.batch_size": 64,
    "training.learning_rate": 0.01,
    "training.num_epochs": 5,
    "training.optimizer": "sgd",
    "training.scheduler": "step",
    "training.warmup_epochs": 2,
    "training.input_noise": 0.1,
    "training.category_assignment": "manual",
    "training.category_mapping_file": "other.json",
    "training.num_categories_auto": 5,
    "training.category_correlation": "pearson",
    "training.orthogonality_target": 0.2,
    "training.min_features_per_category": 4,
    "training.max_clusters": 9,
    "training.reconstruction_weight": 2.0,
    "training.vq_weight": 2.0,
    "training.orthogonality_weight": 0.2,
    "training.informativeness_weight": 0.2,
    "training.topo_weight": 0.2,
    "training.topo_samples": 100,
    "training.checkpoint_dir": "elsewhere",
    "training.save_every": 5,
    "training.early_stopping_patience": 9,
    "training.early_stopping_min_delta": 0.1,
    "training.dead_code_reset_interval": 9,
    "training.dead_code_threshold": 8.0,
    "training.dead_code_max_reset_fraction": 0.5,
    "training.val_every_n_epochs": 2,
    "training.memory_budget": 0.5,
    "training.use_torch_compile": False,
    "evaluation.baselines": False,
    "evaluation.probe_column": "meta/system",
    "evaluation.max_pair_rows": 500,
    "evaluation.memory_budget": 0.5,
    "visualization.projection": "umap",
    "visualization.color_by": "summary/x",
    "visualization.max_points": 500,
    "logging.log_interval": 5,
    "logging.eval_interval": None,
    "logging.verbose": False,
    "device": "cpu",
    "random_seed": 7,
}
NOT_TRIED = {"logging.wandb"}  # needs a package
FAMILY_KEYS = {"families"}  # tried below
HOW_NOT_WHAT = {
    "allow_external_data",
    "device",
    "training.memory_budget",
    "training.use_torch_compile",
    "training.checkpoint_dir",
    "logging.wandb",
    "logging.log_interval",
    "logging.eval_interval",
    "logging.verbose",
}


def models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for one in get_args(annotation) for model in models_in(one)]


def declared(model: type[BaseModel], path: str = "") -> dict[str, dict]:
    """Return what is declared of every key that can be written, sections gone into."""
    found = {}
    for key, info in model.model_fields.items():
        inner = models_in(info.annotation)
        for one in inner:
            found |= declared(one, f"{path}{key}.")
        section = len(inner) == 1 and inner[0] is info.annotation
        if not section:
            found[path + key] = info.json_schema_extra or {}
    return found


ALL_KEYS = {
    name: declared(model)
    for name, model in (
        ("Experiment", Experiment),
        ("OperatorDatasetSettings", OperatorDatasetSettings),
        *ENCODER_PARAMS.items(),
    )
}


def changed(key: str, value: object, base: dict = EXAMPLE) -> Experiment:
    """Return the experiment with another value at a dotted key."""
    *sections, name = key.split(".")
    values = inner = {**base}
    for section in sections:
        inner[section] = {**inner.get(section, {})}
        inner = inner[section]
    inner[name] = value
    return Experiment.model_validate(values)


def stages_that_notice(before: Experiment, after: Experiment) -> set[str]:
    return {
        stage for stage in STAGES if stage_settings(before, stage) != stage_settings(after, stage)
    }


@functools.cache
def example() -> Experiment:
    return Experiment.model_validate(EXAMPLE)


@pytest.mark.parametrize(
    ("where", "key"), [(where, key) for where, keys in ALL_KEYS.items() for key in keys]
)
def test_every_key_says_which_known_stages_depend_on_it(where, key):
    stages = ALL_KEYS[where][key].get("stages")
    assert isinstance(stages, list), "not declared with setting()"
    assert set(stages) <= KNOWN
    assert len(set(stages)) == len(stages)


def test_every_key_can_be_described_to_a_reader():
    for model in (Experiment, OperatorDatasetSettings, *ENCODER_PARAMS.values()):
        assert all(info.description for info in model.model_fields.values())


def test_another_value_is_known_for_every_key_of_an_experiment():
    own = {
        key for key in ALL_KEYS["Experiment"] if not key.startswith(("families.", "model.levels."))
    }
    assert own == OTHER.keys() | NOT_TRIED | FAMILY_KEYS


@pytest.mark.parametrize(("key", "value"), OTHER.items(), ids=OTHER)
def test_a_change_is_noticed_by_exactly_the_stages_that_declare_it(key, value):
    section, _, name = key.partition(".")
    stages = set(ALL_KEYS["Experiment"][key]["stages"]) - {"cluster_by_validation"}
    if "cluster_by_silhouette" in stages:  # the example leaves the number of categories open
        stages = stages - {"cluster_by_silhouette"} | {"cluster"}
    after = changed(key, value)
    assert after != example()
    if key == "training.category_mapping_file":
        stages = set()  # the example finds its categories
    assert stages_that_notice(example(), after) == stages, f"{section} {name}"


@pytest.mark.parametrize("number", [None, 5, "validation"])
def test_the_bound_of_orthogonality_counts_where_silhouettes_choose(number):
    fixed = changed("training.num_categories_auto", number) if number else example()
    training = fixed.training.model_copy(update={"orthogonality_target": 0.2})
    noticed = stages_that_notice(fixed, fixed.model_copy(update={"training": training}))
    assert noticed == ({"visualize"} if number else {"cluster", "visualize"})


def test_all_other_keys_belong_to_a_stage():
    keys = {
        key if name == "Experiment" else f"{name}.{key}"
        for name, found in ALL_KEYS.items()
        for key, extra in found.items()
        if not extra.get("stages")
    }
    assert keys == HOW_NOT_WHAT


@pytest.mark.parametrize("key", sorted(HOW_NOT_WHAT))
def test_what_only_changes_how_a_stage_runs_is_in_no_slice(key):
    assert ALL_KEYS["Experiment"][key]["stages"] == []
    section, _, name = key.partition(".")
    for stage in STAGES:
        values = stage_settings(example(), stage)
        assert (name or section) not in (values.get(section, {}) if name else values)


@pytest.mark.parametrize("key", ["dataset_path", "training.category_mapping_file"])
@pytest.mark.parametrize(("spelling", "same"), [("./a//b/./c", True), ("a/b/../b/c", False)])
def test_a_path_is_one_setting_however_it_is_spelled(key, spelling, same):
    one, other = changed(key, "a/b/c"), changed(key, spelling)
    assert (one == other) == same, "what `..` leads to depends on links"


@pytest.mark.parametrize(
    "key", ["dataset_path", "training.category_mapping_file", "training.checkpoint_dir"]
)
def test_a_path_may_start_at_home(key, monkeypatch):
    monkeypatch.setenv("HOME", "/home/her")
    assert changed(key, "~/x") == changed(key, "/home/her/x")
    assert changed(key, "~nobody-of-that-name/x") == changed(key, "~nobody-of-that-name/x")


@pytest.mark.parametrize(
    ("training", "noticed"),
    [
        ({"num_categories_auto": None}, {"model.bits", "model.max_tokens", "model.levels"}),
        (
            {"num_categories_auto": "validation"},
            {"model.bits", "model.max_tokens", "model.levels", "model.group_embedding_dim"},
        ),
        ({"num_categories_auto": 4}, set()),
        ({"category_assignment": "manual", "category_mapping_file": "map.json"}, set()),
    ],
)
def test_clustering_depends_on_the_model_only_where_it_chooses_how_many(training, noticed):
    base = EXAMPLE | {"training": training}
    before = Experiment.model_validate(base)
    keys = ("model.bits", "model.max_tokens", "model.levels", "model.group_embedding_dim")
    assert {
        key
        for key in keys
        if "cluster" in stages_that_notice(before, changed(key, OTHER[key], base))
    } == noticed


MANUAL = {"category_assignment": "manual", "category_mapping_file": "map.json"}


@pytest.mark.parametrize(
    ("settings", "without_effect"),
    [
        (
            {"split": {"column": "metadata/side"}},
            {"split.val_fraction": 0.2, "split.test_fraction": 0.2, "split.group_by": "metadata/x"},
        ),
        (
            {"training": MANUAL},
            {
                "training.num_categories_auto": 7,
                "training.max_clusters": 7,
                "training.min_features_per_category": 2,
            },
        ),
        (
            {"model": {"levels": [{"num_tokens": 8}]}},
            {"model.bits": 24, "model.max_tokens": 16, "model.target_quality": 0.5},
        ),
        ({"model": {"levels": {"a": [{"num_tokens": 8}]}}}, {"model.bits": 24}),
        (
            {"feature_cleaning": {"outlier_method": "none"}},
            {"feature_cleaning.outlier_bound": 4.0, "feature_cleaning.outliers": "log"},
        ),
        ({"training": {"topo_weight": 0.0}}, {"training.topo_samples": 64}),
        ({"training": {"vq_weight": 0.0}}, {"model.commitment_cost": 0.5}),
        (
            {"training": {"dead_code_reset_interval": 0}},
            {
                "training.dead_code_threshold": 3.0,
                "training.dead_code_max_reset_fraction": 0.5,
            },
        ),
    ],
)
def test_settings_that_others_replace_are_noticed_by_no_stage(settings, without_effect):
    base = EXAMPLE | settings
    for key, value in without_effect.items():
        after = changed(key, value, base)
        assert not stages_that_notice(Experiment.model_validate(base), after), key
        told = f"{key} has no effect beside "
        (said,) = [one for one in doubtful_settings(after) if one.startswith(told)]
        beside = said.removeprefix(told).partition(":")[0].split(".")[-1].split()[-1]
        assert beside in str(settings) or beside == "category_assignment"
        assert not [
            one for one in doubtful_settings(Experiment.model_validate(base)) if told in one
        ]


@pytest.mark.parametrize(
    ("epochs", "warmup", "told"), [(5, 5, True), (6, 5, False), (0, 5, False), (5, 0, False)]
)
def test_a_warm_up_that_does_not_end_is_told(epochs, warmup, told):
    training = {"num_epochs": epochs, "warmup_epochs": warmup}
    said = doubtful_settings(Experiment.model_validate(EXAMPLE | {"training": training}))
    sentence = f"never reached: warmup_epochs, {warmup}, is not below num_epochs, {epochs}"
    assert [sentence in one for one in said] == [True] * told


@pytest.mark.parametrize(
    ("vq_weight", "use_ema", "told"), [(0.0, False, True), (0.0, True, False), (1.0, False, False)]
)
def test_codes_that_nothing_trains_are_told(vq_weight, use_ema, told):
    settings = {"training": {"vq_weight": vq_weight}, "model": {"use_ema": use_ema}}
    said = doubtful_settings(Experiment.model_validate(EXAMPLE | settings))
    assert ["codes do not train" in one for one in said] == [True] * told


def test_the_bits_count_where_a_book_is_left_open_or_the_number_of_categories_is_measured():
    for settings in (
        {"model": {"levels": [{"num_tokens": 8}, {}]}},
        {
            "model": {"levels": [{"num_tokens": 8}]},
            "training": {"num_categories_auto": "validation"},
        },
    ):
        base = EXAMPLE | settings
        before = Experiment.model_validate(base)
        assert stages_that_notice(before, changed("model.bits", 24, base))


@pytest.mark.parametrize(
    ("family", "stages"),
    [
        ({"encoder": "MLPEncoder", "encoder_params": {"output_dim": 8}}, {"train"}),
        ({"encoder": "IdentityEncoder"}, {"train"}),
        ({"encoder": "TemporalCNNEncoder"}, {"subset", "train"}),
        ({"encoder": "InitialCNNEncoder"}, {"subset", "train"}),
        ({"encoder": "InitialHybridEncoder"}, {"subset", "train"}),
    ],
)
def test_the_subset_depends_on_what_an_encoder_reads_not_on_its_shape(family, stages):
    assert stages_that_notice(example(), changed("families.temporal", family)) == stages


def test_the_subset_depends_on_the_number_of_coefficients():
    def temporal(**params) -> Experiment:
        return changed(
            "families.temporal", {"encoder": "TemporalCNNEncoder", "encoder_params": params}
        )

    assert stages_that_notice(temporal(), temporal(coefficients=8)) == {"subset", "train"}
    assert stages_that_notice(temporal(), temporal(kernel_size=3)) == {"train"}


def test_the_subset_depends_on_which_families_there_are():
    one = changed("families", {"summary": {"encoder": "MLPEncoder"}})
    assert stages_that_notice(example(), one) == {"subset", "train"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_slice_does_not_depend_on_the_order_of_keys(stage):
    backward = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in reversed(EXAMPLE.items())
    }
    other = Experiment.model_validate(backward)
    assert str(stage_settings(other, stage)) == str(stage_settings(example(), stage))


WEIGHTS = ("orthogonality_weight", "informativeness_weight")


@pytest.mark.parametrize("key", WEIGHTS)
@pytest.mark.parametrize(
    ("model", "training", "wins"),
    [(None, None, 0.1), (0.3, None, 0.3), (None, 0.4, 0.4), (0.3, 0.4, 0.4), (0.3, 0.0, 0.0)],
)
def test_the_weight_of_training_wins_over_the_models(key, model, training, wins):
    values = {"dataset_path": "data.h5", "families": {"a": {}}}
    for section, weight in (("model", model), ("training", training)):
        if weight is not None:
            values[section] = {key: weight}
    experiment = Experiment.model_validate(values)
    assert getattr(experiment.model, key) == getattr(experiment.training, key) == wins


def test_weights_of_an_empty_section_are_the_defaults():
    experiment = Experiment.model_validate(EXAMPLE | {"model": None, "training": None})
    assert experiment.training.orthogonality_weight == 0.1


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:17"])
def test_usual_devices_are_known(device):
    assert Experiment.model_validate(EXAMPLE | {"device": device}).device == device


@pytest.mark.parametrize(
    "device", ["", "mps", "CUDA", "cuda:", "cuda:-1", "cuda:0 ", "cpu\n", "cuda0"]
)
def test_other_devices_are_not(device):
    with pytest.raises(ValidationError, match="device"):
        Experiment.model_validate(EXAMPLE | {"device": device})


def test_levels_of_categories_may_differ_in_sizes_but_not_in_number():
    levels = {"a": [{"num_tokens": 8}, {}], "b": [{"latent_dim": 2}, {"num_tokens": 4}]}
    assert len(changed("model.levels", levels).model.levels["b"]) == 2
    with pytest.raises(ValidationError, match="same number of levels"):
        changed("model.levels", levels | {"c": [{}]})


@pytest.mark.parametrize("section", ["model", "training", "logging", "split", "evaluation"])
def test_a_section_without_settings_is_as_if_it_were_not_there(section):
    empty = EXAMPLE | {section: None}
    without = {key: value for key, value in EXAMPLE.items() if key != section}
    assert Experiment.model_validate(empty) == Experiment.model_validate(without)


@pytest.mark.parametrize("value", ["bad", None, [1], True])
def test_a_weight_that_is_no_number_is_refused_also_where_training_has_one(value):
    settings = EXAMPLE | {
        "model": {"orthogonality_weight": value}, "training": {"orthogonality_weight": 0.7}
    }  # fmt: skip
    with pytest.raises(ValidationError, match=r"model\.orthogonality_weight"):
        Experiment.model_validate(settings)


def test_categories_by_validation_need_rows_to_validate_on():
    chosen = {"training": {"num_categories_auto": "validation"}}
    none = {"split": {"val_fraction": 0.0}}
    with pytest.raises(ValidationError, match=r"needs split\.val_fraction above 0"):
        Experiment.model_validate(EXAMPLE | chosen | none)
    published = {"split": {"val_fraction": 0.0, "column": "meta/split"}}
    Experiment.model_validate(EXAMPLE | chosen | published)
