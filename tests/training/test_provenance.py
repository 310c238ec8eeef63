"""Digests that depend on what they should and on nothing else."""

import json
import subprocess

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.training import provenance
from spinlock.training.provenance import describe_run, files_digest, settings_digest

modest = settings(deadline=None, max_examples=60)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
mappings = st.dictionaries(st.text(max_size=4), values, min_size=1, max_size=5)


def reordered(value, random):
    """Return a value whose mappings, at any depth, have their keys in another order."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: reordered(value[key], random) for key in keys}
    if isinstance(value, list):
        return [reordered(one, random) for one in value]
    return value


@modest
@given(mappings, st.randoms(use_true_random=False))
def test_a_digest_of_settings_does_not_depend_on_the_order_of_keys(mapping, random):
    assert settings_digest(reordered(mapping, random)) == settings_digest(mapping)


@modest
@given(mappings, mappings)
def test_other_settings_have_another_digest(a, b):
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (settings_digest(a) == settings_digest(b)) == same


def test_a_list_in_another_order_has_another_digest():
    assert settings_digest({"a": [1, 2]}) != settings_digest({"a": [2, 1]})


def test_a_digest_of_files_depends_on_their_names_and_bytes_only(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "a").write_text("one")
        (folder / "b").write_text("two")
    before = files_digest([here / "a", here / "b"])
    assert files_digest([there / "b", there / "a"]) == before
    (there / "b").write_text("twO")
    assert files_digest([there / "a", there / "b"]) != before
    (here / "b").rename(here / "c")
    assert files_digest([here / "a", here / "c"]) != before


def test_a_run_is_described_in_plain_values():
    described = describe_run(7, torch.device("cpu"))
    assert json.loads(json.dumps(described)) == described
    assert described["random_seed"] == 7
    assert described["device"] == "cpu"
    assert described["libraries"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_the_commit_is_that_of_the_package_and_not_of_a_project_around_it(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        done = subprocess.run(
            ["git", *who, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    package = tmp_path / "site-packages/spinlock/__init__.py"
    package.parent.mkdir(parents=True)
    package.touch()
    monkeypatch.setattr(provenance.spinlock, "__file__", str(package))
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "a project")
    assert describe_run(0, torch.device("cpu"))["git_commit"] is None
    git("add", ".")
    git("commit", "--quiet", "--message", "with the package")
    commit = describe_run(0, torch.device("cpu"))["git_commit"]
    assert commit == git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    "problem", [FileNotFoundError(), provenance.subprocess.TimeoutExpired("git", 5)]
)
def test_without_git_there_is_no_commit(monkeypatch, problem):
    def fail(*args, **kwargs):
        raise problem

    monkeypatch.setattr(provenance.subprocess, "run", fail)
    assert describe_run(0, torch.device("cpu"))["git_commit"] is None
