"""The benchmarks run: their programs are executed at tiny sizes, and nothing is timed."""

import json

import numpy as np

from benchmarks.__main__ import main
from benchmarks.measurement import Result
from benchmarks.results import record
from benchmarks.scale import Pipeline, write_dataset
from spinlock.features.table import FeatureTable

MACHINE = {"threads": "1"}


def test_quick_benchmarks_write_results_as_json_and_markdown(tmp_path):
    main(["encoding", "--quick", "--threads", "1", "--output", str(tmp_path)])
    entries = json.loads((tmp_path / "results.json").read_text())
    assert set(entries) == {"encoding", "encoding_beam"}
    page = (tmp_path / "results.md").read_text()
    for name, entry in entries.items():
        assert set(entry) == {"ours", "reference", "ratio", "unit", "conditions"}
        assert f"| {name} |" in page


def test_a_ratio_above_one_is_better_whatever_the_unit_and_other_results_stay(tmp_path):
    record({"time": Result(2.0, 6.0, "s", "")}, MACHINE, tmp_path)
    record({"rate": Result(2.0, 6.0, "1/s", "", higher_is_better=True)}, MACHINE, tmp_path)
    entries = json.loads((tmp_path / "results.json").read_text())
    assert entries["time"]["ratio"] == 3
    assert entries["rate"]["ratio"] == 1 / 3


def test_the_stages_of_the_scale_benchmark_run_as_programs(tmp_path):
    dataset = tmp_path / "made_up.h5"
    write_dataset(dataset, 50)
    pipeline = Pipeline(tmp_path / "results", dataset, {"architecture": "MLPEncoder"}, 1)
    run = pipeline.run("subset")
    assert run.seconds > 0
    assert run.peak_bytes > 2**20
    with FeatureTable(tmp_path / "results" / "subset.h5") as table:
        assert table.read().shape == (50, 21)
        assert np.isfinite(table.read()).all()
