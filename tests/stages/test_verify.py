"""Whether a result folder still holds what its model was made from."""

import shutil

import pytest

from spinlock.stages import verify


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished.out, tmp_path / "copy")


def test_an_untouched_folder_is_the_same(copy):
    assert verify.run(copy) == dict.fromkeys(
        ("settings", "code", "dataset", "data", "tokens"), verify.SAME
    )


def test_changed_data_and_tokens_of_another_model_differ(copy):
    (copy / "categories.json").write_text("{}")
    assert verify.run(copy)["data"] == verify.DIFFERS
    content = (copy / "best_model.pt").read_bytes()
    (copy / "best_model.pt").write_bytes(content + b"\0")
    assert verify.run(copy)["tokens"] == verify.DIFFERS


def test_what_is_not_there_is_said(copy):
    (copy / "tokens.h5").unlink()
    (copy / "subset.h5").unlink()
    assert verify.run(copy) == {
        "settings": verify.SAME, "code": verify.SAME, "dataset": verify.SAME,
        "data": verify.MISSING, "tokens": verify.MISSING,
    }  # fmt: skip
