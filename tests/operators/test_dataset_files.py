"""Which files an experiment reads: a given one, or the shards that hold its operators."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.features.operator_file import OperatorFileWriter
from spinlock.operators.dataset_files import (
    dataset_files,
    generated_shards,
    given_datasets,
    shards,
)
from spinlock.settings import Experiment, OperatorDatasetSettings


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project folder with a configuration of 10 operators in shards of 4."""
    monkeypatch.chdir(tmp_path)
    configs = tmp_path / "configs" / "datasets"
    configs.mkdir(parents=True)
    (configs / "small.yaml").write_text("num_operators: 10\nshard_size: 4\n", encoding="utf-8")
    return tmp_path


def experiment(dataset_path: str, max_samples: int | None = None) -> Experiment:
    return Experiment.model_validate(
        {"dataset_path": dataset_path, "max_samples": max_samples, "families": {"summary": {}}}
    )


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 300), st.none() | st.integers(4, 3000))
def test_shards_hold_the_wanted_operators_once_each_and_no_shard_is_idle(total, size, wanted):
    made = OperatorDatasetSettings(num_operators=total, shard_size=size)
    listed = shards("small", made, wanted)
    operators = [i for shard in listed for i in range(shard.first, shard.first + shard.count)]
    needed = min(wanted or total, total)
    assert operators[:needed] == list(range(needed))
    assert operators == list(range(len(operators))), "one after another, none twice"
    assert len(operators) <= total
    assert listed[-1].first < needed, "the last shard is needed"
    assert all(0 < shard.count <= size for shard in listed)
    assert [shard.path.name for shard in listed] == sorted({shard.path.name for shard in listed})


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 100), st.integers(4, 500))
def test_a_shard_is_the_same_whatever_number_of_samples_is_wanted(total, size, wanted):
    made = OperatorDatasetSettings(num_operators=total, shard_size=size)
    some = shards("small", made, wanted)
    assert some == shards("small", made)[: len(some)]


def test_a_dataset_that_can_be_generated_is_read_from_its_shards(project):
    files = dataset_files(experiment("datasets/small.h5"))
    assert files == [Path(f"datasets/small/shard_0000{i}.h5") for i in range(3)]
    assert [shard.count for shard in generated_shards(experiment("datasets/small.h5"))] == [4, 4, 2]


@pytest.mark.parametrize(("max_samples", "n_files"), [(4, 1), (5, 2), (8, 2), (9, 3), (99, 3)])
def test_only_the_shards_that_max_samples_needs_are_read(project, max_samples, n_files):
    assert len(dataset_files(experiment("datasets/small.h5", max_samples))) == n_files


@pytest.mark.parametrize("path", ["./datasets/small.h5", "datasets//small.h5"])
def test_the_way_a_path_is_written_does_not_matter(project, path):
    assert len(dataset_files(experiment(path))) == 3


def test_a_given_file_is_read_as_it_is(project):
    (project / "mine.h5").touch()
    assert dataset_files(experiment("mine.h5")) == [Path("mine.h5")]
    assert generated_shards(experiment("mine.h5")) == []


def test_a_file_that_was_put_in_place_of_a_generated_dataset_is_read(project):
    (project / "datasets").mkdir()
    (project / "datasets" / "small.h5").touch()
    assert dataset_files(experiment("datasets/small.h5")) == [Path("datasets/small.h5")]


def write_dataset(path: Path, config: dict[str, object] | None = None) -> None:
    """Write a dataset of two rows, which says that `config` made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        writer = OperatorFileWriter(file, 2, config)
        writer.write(0, {"features/summary/aggregated/features": np.ones((2, 3), np.float32)})


SIMULATED = OperatorDatasetSettings(num_operators=10, shard_size=4).model_dump(mode="json")


def test_shards_go_on_being_read_after_they_are_joined_to_one_file(project):
    write_dataset(Path("datasets/small/shard_00000.h5"), SIMULATED)
    write_dataset(Path("datasets/small.h5"), SIMULATED)
    assert len(dataset_files(experiment("datasets/small.h5"))) == 3


@pytest.mark.parametrize("config", [None, {"program": "another"}])
def test_shards_do_not_take_the_place_of_a_given_file(project, config):
    write_dataset(Path("datasets/small/shard_00000.h5"), SIMULATED)
    write_dataset(Path("datasets/small.h5"), config)
    assert dataset_files(experiment("datasets/small.h5")) == [Path("datasets/small.h5")]
    assert given_datasets() == ["small"]


def test_shards_do_not_take_the_place_of_a_damaged_file(project):
    write_dataset(Path("datasets/small/shard_00000.h5"), SIMULATED)
    Path("datasets/small.h5").write_bytes(b"\x89HDF half of it")
    assert dataset_files(experiment("datasets/small.h5")) == [Path("datasets/small.h5")]


@pytest.mark.parametrize("name", ["small.csv", "small.hdf5", "small"])
def test_a_file_of_another_kind_is_not_generated(project, name):
    Path("datasets").mkdir()
    Path("datasets", name).touch()
    assert dataset_files(experiment(f"datasets/{name}")) == [Path("datasets", name)]
    assert generated_shards(experiment(f"datasets/{name}")) == []


def test_a_folder_without_shards_does_not_take_the_place_of_a_given_file(project):
    (project / "datasets" / "small" / "logs").mkdir(parents=True)
    (project / "datasets" / "small.h5").touch()
    assert dataset_files(experiment("datasets/small.h5")) == [Path("datasets/small.h5")]


def test_files_in_datasets_are_given_unless_they_are_joined_from_shards(project):
    assert given_datasets() == []
    for name in ("mine", "small"):
        write_dataset(Path(f"datasets/{name}.h5"), SIMULATED)
        assert name in given_datasets(), "there are no shards that it is joined from"
        write_dataset(Path(f"datasets/{name}/shard_00000.h5"), SIMULATED)
    assert given_datasets() == ["mine"], "which nothing can generate"


def test_a_bad_configuration_does_not_matter_to_other_datasets(project):
    write_dataset(Path("datasets/small.h5"), SIMULATED)
    write_dataset(Path("datasets/small/shard_00000.h5"), SIMULATED)
    Path("configs/datasets/small.yaml").write_text("num_operators: 0\n", encoding="utf-8")
    assert given_datasets() == []


@pytest.mark.parametrize("path", ["datasets/large.h5", "elsewhere/small.h5", "small.h5"])
def test_what_neither_exists_nor_can_be_generated_is_told(project, path):
    with pytest.raises(SpinlockError, match="does not exist") as caught:
        dataset_files(experiment(path))
    assert path in str(caught.value)
    assert "small" in str(caught.value), "the dataset that could be generated"
    assert str(project) in caught.value.remedy, "where the path was looked up"
    assert "spinlock.stages.concatenate" in caught.value.remedy


def test_a_bad_configuration_of_a_dataset_is_told_with_its_file(project):
    bad = Path("configs/datasets/bad.yaml")
    bad.write_text("num_operators: 0\n", encoding="utf-8")
    with pytest.raises(SpinlockError, match="num_operators") as caught:
        dataset_files(experiment("datasets/bad.h5"))
    assert str(bad) in str(caught.value)
