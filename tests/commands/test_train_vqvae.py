"""All stages up to the model in one process."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from spinlock.commands import train_vqvae
from spinlock.errors import SpinlockError
from spinlock.files import sole_writer


def test_a_training_that_cannot_go_on_from_its_checkpoint_writes_nothing(
    experiment, write_given, tmp_path
):
    write_given(tmp_path / "given.h5")
    out = tmp_path / "out"
    model = train_vqvae.run(experiment(dataset_path="given.h5"), out)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features/summary/features"] = np.random.default_rng(1).normal(size=(30, 4))
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    longer = {"training": {"num_epochs": 2}}
    for changes, start, problem in (
        ({"dataset_path": "other.h5"} | longer, model, "other dataset"),
        ({"dataset_path": "given.h5"} | longer, tmp_path / "gone.pt", "gone.pt"),
        ({"dataset_path": "given.h5", "random_seed": 7}, model, "other settings"),
        ({"dataset_path": "given.h5", "max_samples": 20}, model, "other settings"),
        ({"dataset_path": "given.h5", "normalization_method": "mad"}, model, "other settings"),
        ({"dataset_path": "given.h5", "device": "cuda:77"}, None, "not available"),
    ):
        with pytest.raises(SpinlockError, match=problem):
            train_vqvae.run(experiment(**changes), out, start)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    train_vqvae.run(experiment(dataset_path="given.h5", **longer), out, model)


def test_data_that_a_checkpoint_was_not_made_from_does_not_come_beside_it(
    experiment, write_given, tmp_path
):
    write_given(tmp_path / "given.h5")
    mapping, out = tmp_path / "map.json", tmp_path / "out"
    manual = {"category_assignment": "manual", "category_mapping_file": "map.json"}

    def training(epochs):
        settings = manual | {"num_epochs": epochs}
        return experiment(dataset_path="given.h5", training=settings)

    mapping.write_text('{"a": [0, 1], "b": [2, 3]}')
    model = train_vqvae.run(training(1), out)
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    mapping.write_text('{"a": [0, 1, 2], "b": [3]}')
    with pytest.raises(SpinlockError, match="other data"):
        train_vqvae.run(training(2), out, model)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert not list(out.glob(".*"))
    mapping.write_text("{}")
    with pytest.raises(SpinlockError) as caught:
        train_vqvae.run(training(2), out, model)
    assert caught.value.where == Path("map.json")
    mapping.write_text('{"a": [0, 1], "b": [2, 3]}')
    train_vqvae.run(training(2), out, model)
    assert not list(out.glob(".*"))


def test_a_preparation_that_fails_leaves_the_model_that_is_there_what_it_was_made_from(
    experiment, write_given, tmp_path
):
    write_given(tmp_path / "given.h5")
    out, given = tmp_path / "out", {"dataset_path": "given.h5"}
    train_vqvae.run(experiment(**given), out)
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    all_dropped = {"feature_cleaning": {"variance_tolerance": 0.99}, "max_samples": 20}
    with pytest.raises(SpinlockError):
        train_vqvae.run(experiment(**given, **all_dropped), out)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert not list(out.glob(".*"))


def test_levels_of_unknown_categories_leave_the_model_that_is_there_as_it_was(
    experiment, write_given, tmp_path
):
    write_given(tmp_path / "given.h5")
    out, given = tmp_path / "out", {"dataset_path": "given.h5"}
    train_vqvae.run(experiment(**given), out)
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    levels = {"model": {"levels": {"wrong": [{"num_tokens": 4}]}}, "random_seed": 7}
    with pytest.raises(SpinlockError, match="unknown categories"):
        train_vqvae.run(experiment(**given, **levels), out)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_a_training_writes_over_nothing_that_it_reads(experiment, write_given, tmp_path):
    write_given(tmp_path / "given.h5")
    (tmp_path / "out").mkdir()
    given = {"dataset_path": "given.h5"}
    config = tmp_path / "out/config.yaml"
    config.write_text("mine")
    with pytest.raises(SpinlockError, match="is read here too"):
        train_vqvae.run(experiment(**given), tmp_path / "out", config=config)
    (tmp_path / "out/categories.json").write_text('{"a": [0, 1, 2, 3]}')
    manual = {
        "category_assignment": "manual",
        "category_mapping_file": "out/categories.json",
    }
    with pytest.raises(SpinlockError, match="is read here too"):
        train_vqvae.run(experiment(training=manual, **given), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "categories.json",
        "config.yaml",
    ]
    assert config.read_text() == "mine"


def test_two_trainings_do_not_write_into_one_folder(experiment, write_given, tmp_path):
    write_given(tmp_path / "given.h5")
    out = tmp_path / "out"
    with sole_writer(out), pytest.raises(SpinlockError, match="another training"):
        train_vqvae.run(experiment(dataset_path="given.h5"), out)
    assert list(out.iterdir()) == []
    train_vqvae.run(experiment(dataset_path="given.h5"), out)


def test_a_dataset_that_is_nowhere_is_told_before_anything_is_written(experiment, tmp_path):
    with pytest.raises(SpinlockError, match="does not exist") as caught:
        train_vqvae.run(experiment(dataset_path="gone.h5"), tmp_path / "out")
    assert "tiny" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_same_experiment_twice_gives_the_same_files(experiment, write_given, tmp_path):
    write_given(tmp_path / "given.h5")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        train_vqvae.run(experiment(dataset_path="given.h5"), folder)
    names = [sorted(p.name for p in folder.iterdir() if p.is_file()) for folder in folders]
    assert names[0] == names[1]
    assert len(names[0]) >= 9
    for name in names[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_a_dataset_in_the_place_of_a_result_is_not_overwritten(experiment, write_given, tmp_path):
    dataset = tmp_path / "out" / "subset.h5"
    dataset.parent.mkdir()
    write_given(dataset)
    before = dataset.read_bytes()
    with pytest.raises(SpinlockError, match="is read here too"):
        train_vqvae.run(experiment(dataset_path=str(dataset)), dataset.parent)
    assert dataset.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("checkpoint_epoch_0001.pt", "another kind of file"),
        ("best_model.pt", "another kind of file"),
        ("subset.h5", "another kind of file"),
        ("config.yaml", "config.yaml would be written over"),
        ("linkage.npz", "linkage.npz would be written over"),
    ],
)
def test_a_training_writes_over_nothing_that_no_training_wrote(experiment, tmp_path, name, told):
    other = tmp_path / "out" / name
    other.parent.mkdir()
    other.write_text("of someone else")
    with pytest.raises(SpinlockError, match=told):
        train_vqvae.run(experiment(), other.parent)
    assert other.read_text() == "of someone else"
    assert list(other.parent.iterdir()) == [other]


def test_a_file_in_the_place_of_the_output_folder_is_told(experiment, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SpinlockError, match="cannot write"):
        train_vqvae.run(experiment(), tmp_path / "file")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"evaluation": {"probe_column": "metadata/nope"}}, "metadata/nope"),
        ({"visualization": {"color_by": "summary/nope"}}, "summary/nope"),
    ],
)
def test_names_that_later_stages_read_are_looked_for_before_anything_is_written(
    experiment, write_given, tmp_path, settings, told
):
    write_given(tmp_path / "given.h5")
    wrong = experiment(dataset_path=str(tmp_path / "given.h5"), **settings)
    with pytest.raises(SpinlockError, match=told):
        train_vqvae.run(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()
