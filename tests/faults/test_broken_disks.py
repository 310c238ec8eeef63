"""Stages whose disk is broken or full: reads, writes and flushes fail in the middle of a run.

The errors come from a layer between the process and its files, `faulty_files.c`.
"""

import errno
import os
from pathlib import Path

import pytest

READ, WRITE, FLUSH = 1, 2, 3
INPUTS = [
    ("subset", "experiment.yaml"),
    ("subset", "dataset.h5"),
    ("normalize", "subset.h5"),
    ("cluster", "subset.h5"),
    ("cluster", "feature_statistics.npz"),
    ("train", "subset.h5"),
    ("train", "feature_statistics.npz"),
    ("train", "categories.json"),
    ("evaluate", "best_model.pt"),
    ("evaluate", "subset.h5"),
    ("encode", "dataset.h5"),
    ("encode", "best_model.pt"),
    ("generate", "operators.yaml"),
    ("concatenate", "operators.h5"),
    ("decode", "tokens.h5"),
]
WRITERS = (
    "generate", "concatenate", "subset", "normalize", "cluster", "train", "evaluate", "encode",
    "decode",
)  # fmt: skip
FAULTS = ((WRITE, errno.EIO, 0.5), (WRITE, errno.ENOSPC, 0.9), (FLUSH, errno.EIO, 0.0))


@pytest.fixture
def broken(laboratory):
    """Give a function that runs a stage while an operation on some files fails."""
    if laboratory.layer is None:
        pytest.skip("there is no C compiler for the faulty layer")

    def run(stage: str, out: Path, path: str, operation: int, error: int, after: int):
        failing = {"path": path, "operation": operation, "error": error, "after": after}
        return laboratory.run(stage, out, failing=failing)

    return run


def told(outcome, *said: str) -> None:
    assert outcome.status == 2, outcome.messages
    assert "Traceback" not in outcome.messages
    assert "what to do" in outcome.messages
    for words in said:
        assert words in outcome.messages


def hidden(out: Path) -> list[Path]:
    return list(out.rglob("*.part"))


@pytest.mark.parametrize(("stage", "name"), INPUTS)
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_an_input_that_cannot_be_read_is_named_and_nothing_is_written(
    laboratory, broken, tmp_path, stage, name, share
):
    path = next(p for p in (laboratory.folder / name, laboratory.reference / name) if p.exists())
    after = int(share * path.stat().st_size)
    outcome = broken(stage, tmp_path / "out", str(path), READ, errno.EIO, after)
    told(outcome, name, "Input/output error")
    assert not laboratory.digests(stage, tmp_path / "out")
    assert not hidden(tmp_path)


@pytest.mark.parametrize("stage", WRITERS)
def test_an_output_that_cannot_be_written_is_told_and_later_the_bits_are_the_same(
    laboratory, broken, tmp_path, stage
):
    expected = laboratory.digests(stage, laboratory.reference)
    largest = max((laboratory.reference / name).stat().st_size for name in expected)
    out = tmp_path / "out"
    for operation, error, share in FAULTS:
        after = max(1, int(share * largest))
        outcome = broken(stage, out, str(out), operation, error, after)
        told(outcome, "cannot write the file", str(out), os.strerror(error))
        assert not hidden(out)
        found = laboratory.digests(stage, out)
        assert found != expected
        assert all(expected[name] == digest for name, digest in found.items())
    assert laboratory.run(stage, out).status == 0
    assert laboratory.digests(stage, out) == expected
