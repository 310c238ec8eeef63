"""Stages that are killed, or that find a disk full or locked.

No file is ever half-written, and a rerun gives the same bits.
"""

import os

import numpy as np
import pytest

QUICK = (
    "generate", "concatenate", "subset", "normalize", "cluster", "evaluate", "encode", "decode",
)  # fmt: skip
MOMENTS = int(os.environ.get("FAULT_MOMENTS", "20"))
# nobody may import what root has installed, so these are the stages that import nothing late
WITHOUT_PRIVILEGES = ("subset", "normalize", "cluster")
SHARES = (0.1, 0.4, 0.9)  # of the largest file that the stage writes
SLOW_MOMENTS = int(os.environ.get("FAULT_MOMENTS", "2"))  # `make faults` kills it 20 times, too


def complete_or_absent(laboratory, stage, out, expected):
    found = laboratory.digests(stage, out)
    return all(found[name] == expected[name] for name in found)


@pytest.mark.parametrize("stage", QUICK)
def test_a_killed_stage_leaves_whole_files_and_runs_again_to_the_same_bits(
    laboratory, stage, tmp_path
):
    whole = laboratory.run(stage, tmp_path / "whole")
    expected = laboratory.digests(stage, laboratory.reference)
    assert whole.status == 0, whole.messages
    assert laboratory.digests(stage, tmp_path / "whole") == expected
    out = tmp_path / "killed"
    moments = np.random.default_rng(len(stage)).uniform(0, 1.1, MOMENTS) * whole.seconds
    killed = 0
    for moment in moments:
        outcome = laboratory.run(stage, out, kill_after=float(moment))
        killed += outcome.status == -9
        assert outcome.status in (-9, 0)
        assert complete_or_absent(laboratory, stage, out, expected)
    assert killed >= MOMENTS // 10, "some of the moments must be before the end"
    again = laboratory.run(stage, out)
    assert again.status == 0, again.messages
    assert laboratory.digests(stage, out) == expected


def test_a_killed_report_is_made_again(laboratory, tmp_path):
    whole = laboratory.run("visualize", tmp_path / "whole/results/x")
    expected = laboratory.digests("visualize", tmp_path / "whole/results/x")
    assert whole.status == 0, whole.messages
    out = tmp_path / "killed/results/x"
    for moment in np.random.default_rng(0).uniform(0, 1, SLOW_MOMENTS) * whole.seconds:
        laboratory.run("visualize", out, kill_after=float(moment))
        assert complete_or_absent(laboratory, "visualize", out, expected)
    assert laboratory.run("visualize", out).status == 0
    assert laboratory.digests("visualize", out) == expected


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("stage", [*QUICK, "train"])
def test_a_write_that_fails_is_told_and_leaves_nothing(laboratory, stage, tmp_path):
    whole = laboratory.digests(stage, laboratory.reference)
    largest = max((laboratory.reference / name).stat().st_size for name in whole)
    out = tmp_path / "limited"
    for share in SHARES:
        outcome = laboratory.run(stage, out, file_limit=int(share * largest))
        assert outcome.status == 2, outcome.messages
        assert "cannot write the file" in outcome.messages
        assert "what to do: check the free space" in outcome.messages
        assert "Traceback" not in outcome.messages
        found = laboratory.digests(stage, out)
        assert found != whole
        assert all(found[name] == whole[name] for name in found)
        assert [name for name in files_in(out) if name.endswith(".part")] == []
    assert laboratory.run(stage, out).status == 0, "with space, it works again"
    assert laboratory.digests(stage, out) == whole


@pytest.mark.parametrize("stage", WITHOUT_PRIVILEGES)
def test_a_folder_that_may_not_be_written_is_told(laboratory, stage):
    out = laboratory.folder / f"locked_{stage}"
    out.mkdir(mode=0o555)
    outcome = laboratory.run(stage, out, nobody=True)
    assert outcome.status == 2, outcome.messages
    assert "cannot write the file: Permission denied" in outcome.messages
    assert str(out) in outcome.messages
    assert files_in(out) == []
