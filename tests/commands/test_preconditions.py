"""What would stop an experiment is found before anything is computed."""

import json
import shutil

import h5py
import numpy as np
import pytest
import yaml

from spinlock.commands.preconditions import describe_data, note_config, require_own_folder
from spinlock.errors import SpinlockError
from spinlock.settings import load_experiment
from spinlock.stages import generate

SIMULATED = "{num_operators: 24, shard_size: 12, grid_size: 8, channels: 1, steps: 8}\n"
ROWS = 30


@pytest.fixture
def described(tmp_path, monkeypatch):
    """Give a function that describes the data of an experiment on given.h5, unless it says else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/datasets").mkdir(parents=True)
    (tmp_path / "datasets").mkdir()
    write_config(tmp_path, {})
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "given.h5", "w") as file:
        file["features/summary/features"] = rng.normal(size=(ROWS, 4))
        file["features/curves/features"] = rng.normal(size=(ROWS, 6, 2))
        file["meta/kind"] = np.arange(ROWS) % 3

    def describe(**settings):
        settings = {"dataset_path": "given.h5", "families": {"summary": {}}} | settings
        (tmp_path / "e.yaml").write_text(yaml.safe_dump(settings))
        return describe_data(load_experiment(tmp_path / "e.yaml"))

    return describe


def write_config(folder, change):
    config = folder / "configs/datasets/tiny.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(SIMULATED) | change))
    return config


def generate_shards(folder):
    paths = [folder / f"datasets/tiny/shard_0000{i}.h5" for i in range(2)]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        generate.run(write_config(folder, {}), path, 12 * i, 12)
    return paths


def manual(mapping, folder):
    (folder / "map.json").write_text(json.dumps(mapping))
    return {"category_assignment": "manual", "category_mapping_file": "map.json"}


def test_a_dataset_to_be_simulated_is_described(described):
    families = {"initial": {"encoder": "InitialCNNEncoder"}, "temporal": {}}
    found = described(dataset_path="datasets/tiny.h5", families=families, max_samples=20)
    assert (found["state"], found["rows"]) == ("to be simulated", 20)
    assert found["families"]["temporal"][0] == 8
    assert len(found["families"]["initial"]) == 1
    for settings, problem in (
        ({"split": {"group_by": "metadata/evolution"}}, "no label metadata/evolution"),
        ({"evaluation": {"probe_column": "system"}}, "no label system"),
        ({"split": {"val_fraction": 0.49, "test_fraction": 0.49}}, "24 rows are too few"),
    ):
        with pytest.raises(SpinlockError, match=problem) as caught:
            described(dataset_path="datasets/tiny.h5", **settings)
        assert "tiny.yaml" in str(caught.value)
    described(dataset_path="datasets/tiny.h5", split={"group_by": "/metadata/evolution_policy"})
    with pytest.raises(SpinlockError, match="have no family texture"):
        described(dataset_path="datasets/tiny.h5", families={"texture": {}})
    families["initial"]["encoder_params"] = {"kernel_size": 99}
    with pytest.raises(SpinlockError, match="the initial fields have 8 × 8"):
        described(dataset_path="datasets/tiny.h5", families=families)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"shard_size": 8}, "does not hold operators 0 to 7"),
        ({"shard_size": 24}, "does not hold operators 0 to 23"),
        ({"num_operators": 18}, "does not hold operators 12 to 17"),
        ({"steps": 9}, "another steps"),
    ],
)
def test_shards_of_another_configuration_are_told(described, tmp_path, change, problem):
    shards = generate_shards(tmp_path)
    assert described(dataset_path="datasets/tiny.h5")["state"] == "present"
    write_config(tmp_path, change)
    with pytest.raises(SpinlockError, match=problem):
        described(dataset_path="datasets/tiny.h5")
    write_config(tmp_path, {})
    shutil.copy(shards[0], shards[1])  # as many operators, but others
    with pytest.raises(SpinlockError, match="does not hold operators 12 to 23"):
        described(dataset_path="datasets/tiny.h5")


def test_a_file_of_all_simulated_operators_is_of_the_configuration_as_it_is(described, tmp_path):
    config = write_config(tmp_path, {})
    generate.run(config, tmp_path / "datasets/tiny.h5")
    assert described(dataset_path="datasets/tiny.h5")["state"] == "present"
    write_config(tmp_path, {"shard_size": 5})  # in how many files does not matter
    assert described(dataset_path="datasets/tiny.h5")["rows"] == 24
    write_config(tmp_path, {"steps": 9})
    with pytest.raises(SpinlockError, match="another steps"):
        described(dataset_path="datasets/tiny.h5")
    (tmp_path / "given.h5").replace(tmp_path / "datasets/tiny.h5")  # the user's own
    for config in ("{}", '{"simulation": {"steps": 8}, "steps": 8}', "made by hand", "[8]"):
        with h5py.File(tmp_path / "datasets/tiny.h5", "a") as file:
            file.require_group("metadata").attrs["config"] = config  # of another program
        assert described(dataset_path="datasets/tiny.h5")["rows"] == ROWS


def test_a_family_that_a_simulation_writes_beside_the_families_is_none(described):
    with pytest.raises(SpinlockError, match="have no family summary/per_trajectory"):
        described(dataset_path="datasets/tiny.h5", families={"summary/per_trajectory": {}})


def test_a_feature_that_cannot_colour_the_report_is_told_at_once(described):
    assert described(visualization={"color_by": "summary/summary_3"})["rows"] == ROWS
    with pytest.raises(SpinlockError, match="is no feature of this experiment") as caught:
        described(visualization={"color_by": "summary/sumary_3"})
    assert "summary/summary_3" in str(caught.value)


def test_a_given_dataset_is_described_and_checked(described):
    assert described() == {
        "dataset": "given.h5", "state": "present", "rows": ROWS, "families": {"summary": [4]}
    }  # fmt: skip
    assert described(max_samples=7)["rows"] == 7
    with pytest.raises(SpinlockError, match="no family texture"):
        described(families={"texture": {}})


@pytest.mark.parametrize(
    "settings",
    [
        {"split": {"column": "meta/none"}},
        {"split": {"group_by": "meta/none"}},
        {"evaluation": {"probe_column": "meta/none"}},
    ],
    ids=["column", "group_by", "probe_column"],
)
def test_labels_are_looked_for(described, settings):
    with pytest.raises(SpinlockError, match="no label /meta/none"):
        described(**settings)
    (section,) = settings
    (key,) = settings[section]
    described(**{section: {key: "meta/kind"}})


def test_rows_are_looked_for_on_each_side_of_the_split(described, tmp_path):
    with h5py.File(tmp_path / "given.h5", "a") as file:
        file["meta/text"] = [f"row {i}" for i in range(ROWS)]
        file["meta/pair"] = np.arange(ROWS) % 2
    for split, problem in [
        ({"column": "meta/text"}, "names no side in most rows"),
        ({"column": "meta/pair"}, "no test row"),
        ({"group_by": "meta/pair"}, "names 2 groups, too few for 3 sides"),
    ]:
        with pytest.raises(SpinlockError, match=problem) as caught:
            described(split=split)
        assert "given.h5" in str(caught.value)


def test_what_an_encoder_reads_is_looked_for(described, tmp_path):
    with pytest.raises(SpinlockError, match=r"families\.summary: Temp.* holds none") as caught:
        described(families={"summary": {"encoder": "TemporalCNNEncoder"}})
    assert "given.h5" in str(caught.value)
    described(families={"curves": {"encoder": "TemporalCNNEncoder"}})
    fields = {"summary": {"encoder": "InitialHybridEncoder"}}
    with pytest.raises(SpinlockError, match="has none at /inputs/fields"):
        described(families=fields)
    with h5py.File(tmp_path / "given.h5", "a") as file:
        file["inputs/fields"] = np.zeros((ROWS, 1, 4, 6))
    described(families=fields)
    large = {"encoder": "InitialCNNEncoder", "encoder_params": {"kernel_size": 7}}
    with pytest.raises(SpinlockError, match=r"take fields of 5 or more points .* have 4 × 6"):
        described(families={"summary": large})


def test_a_mapping_is_read_and_compared_with_the_columns(described, tmp_path, caplog):
    described(training=manual({"a": ["summary_0", 1]}, tmp_path))  # the rest may be constant
    assert "unless cleaning drops them: summary/summary_2" in caplog.text
    caplog.clear()
    described(training=manual({"a": ["summary_0", 1], "b": ["summary_2", 3]}, tmp_path))
    assert not caplog.text
    described(
        families={
            "curves": {"encoder": "TemporalCNNEncoder", "encoder_params": {"coefficients": 2}}
        },
        training=manual({"a": ["curves_0/dct_00", "curves_1/dct_01"]}, tmp_path),
    )
    with pytest.raises(SpinlockError, match="unknown features: drift") as caught:
        described(training=manual({"a": ["drift"]}, tmp_path))
    assert "map.json" in str(caught.value)
    with pytest.raises(SpinlockError, match="not in the mapping: c") as caught:
        described(
            training=manual({"a": ["summary_0", 1], "b": ["summary_2", 3]}, tmp_path),
            model={"levels": {"a": [{}], "c": [{}]}},
        )
    assert caught.value.remedy == "categories that are there: a, b"
    missing = manual({}, tmp_path) | {"category_mapping_file": "gone.json"}
    with pytest.raises(SpinlockError, match="cannot be read"):
        described(training=missing)


@pytest.fixture
def trained(tmp_path):
    """Give a file of settings, and the folder of a model that was trained with them."""
    folder, config = tmp_path / "checkpoints/x", tmp_path / "p/x.yaml"
    folder.mkdir(parents=True)
    (folder / "best_model.pt").touch()
    note_config(folder, config)
    return config, folder


def test_a_configuration_is_trained_again_where_its_model_is_also_when_all_has_moved(trained):
    config, folder = trained
    require_own_folder(folder, config)
    moved = folder.parents[1].rename(folder.parents[1].with_name("moved"))
    require_own_folder(moved / "checkpoints/x", moved / "p/x.yaml")


def test_a_model_of_another_configuration_is_not_replaced(trained):
    config, folder = trained
    other = config.parents[1] / "q/x.yaml"
    with pytest.raises(SpinlockError, match="another configuration") as caught:
        require_own_folder(folder, other)
    assert str(config) in caught.value.problem
    assert str(other) in caught.value.problem
    assert "--output FOLDER" in caught.value.remedy
    (folder / "best_model.pt").unlink()  # then there is nothing to lose
    require_own_folder(folder, other)
