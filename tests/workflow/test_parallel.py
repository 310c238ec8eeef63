"""Parsing loads nothing heavy, threads reach the libraries, and two runs share a checkout."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# what rule files use, without Snakemake, which loads numpy and pandas itself
PARSED = """
import json, sys
from spinlock.settings import load_experiment, stage_settings
from spinlock.operators.dataset_files import dataset_files
from spinlock.source import source_digest
settings = load_experiment("configs/vqvae/arch_summary.yaml")
stage_settings(settings, "train"), source_digest("spinlock.stages.train")
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
# a dry run in this process, so that it can be asked what it has loaded
DRY_RUN = """
import contextlib, io, json, sys
from snakemake.cli import main
with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
    try:
        main(["--dry-run", *sys.argv[1:]])
    except SystemExit as ending:
        assert ending.code in (None, 0)
loaded = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
print(json.dumps(sorted(loaded)))
"""
EMPTY = """
from snakemake.utils import min_version
min_version("9.0")
rule all:
    input: []
"""
HEAVY = {"torch", "numpy", "scipy", "sklearn", "pandas", "h5py", "matplotlib", "faiss", "numba"}
THREADS = """
import json, os
from spinlock.stages import train
from spinlock.program import limit_threads
import torch
from threadpoolctl import threadpool_info
limit_threads(2)
import faiss
pools = {pool["user_api"]: pool["num_threads"] for pool in threadpool_info()}
print(json.dumps(pools | {"torch": torch.get_num_threads(), "faiss": faiss.omp_get_max_threads()}))
"""


def shown(program: str, *arguments: str, **environment: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_reading_the_workflow_loads_nothing_heavy():
    loaded = set(shown(PARSED))
    assert "pydantic" in loaded
    assert loaded & HEAVY == set()


def test_a_dry_run_loads_nothing_but_this_package_beyond_what_an_empty_one_loads(tmp_path):
    (tmp_path / "Snakefile").write_text(EMPTY)
    empty = set(
        shown(DRY_RUN, "--directory", str(tmp_path), "--snakefile", f"{tmp_path}/Snakefile")
    )
    loaded = set(shown(DRY_RUN, "results/arch_summary/report.html"))
    assert "snakemake" in empty
    assert loaded - empty == {"spinlock"}


def test_the_threads_of_a_rule_reach_blas_openmp_and_torch():
    assert shown(THREADS, OMP_NUM_THREADS="3", OPENBLAS_NUM_THREADS="3") == {
        "blas": 2, "openmp": 2, "torch": 2, "faiss": 2,
    }  # fmt: skip


def test_the_graph_of_rules_in_the_readme_is_that_of_the_workflow():
    program = (
        "import json, sys; sys.path.insert(0, 'docs'); import make; "
        "print(json.dumps([make.rule_graph(), make.README.read_text()]))"
    )
    graph, readme = shown(program)
    assert graph in readme, "run `make docs`"


def test_every_rule_says_what_it_does():
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--list-rules"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) >= 10
    assert [line for line in lines if not re.fullmatch(r"\w+ \([A-Z].*\.\)", line)] == []


@pytest.fixture
def models(workspace) -> list[str]:
    """Give the models of two experiments, which the first test to ask for them trains."""
    for name in ("first", "second"):
        config = workspace.path / f"configs/vqvae/{name}.yaml"
        config.write_text((workspace.path / "configs/vqvae/tiny.yaml").read_text())
    return [f"results/{name}/best_model.pt" for name in ("first", "second")]


def test_two_runs_on_two_experiments_share_a_checkout(workspace, models):
    # Snakemake locks the files that a run reads and writes, not the folder; the first run goes
    # on to its metrics, as two that end at the same instant both try to remove the folder of locks
    targets = [models[0].replace("best_model.pt", "metrics.json"), models[1]]
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "1", target],
            cwd=workspace.path,
            env=os.environ | {"PYTHONPATH": str(workspace.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for target in targets
    ]
    said = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(said)
    made = [*models, *targets]
    assert [path for path in made if not (workspace.path / path).is_file()] == []


def test_one_gpu_is_given_to_one_training_at_a_time(workspace, models):
    # there are cores for both, but the profile that is loaded by itself has one GPU
    options = ("--cores", "8", "--set-threads", "train=1", "--forcerun", "train")
    done = workspace.snakemake(*options, "--", *models)
    said = done.stdout + done.stderr
    events = re.findall(r"^(localrule|Finished).*\btrain\b", said, re.MULTILINE)
    assert events == ["localrule", "Finished", "localrule", "Finished"]


def test_a_training_has_a_process_for_each_of_its_gpus(workspace, models):
    options = ("--dry-run", "--forcerun", "train", "--resources", "gpu=3")
    for given, processes in (((), 1), (("--set-resources", "train:gpu=3"), 3)):
        done = workspace.snakemake(*options, *given, "--", *models)
        assert set(re.findall(r"--processes (\d+)", done.stdout)) == {str(processes)}


def test_a_job_that_is_sent_again_asks_for_more_memory_and_time(workspace, models):
    dataset = workspace.path / "datasets/broken.h5"
    dataset.write_bytes(b"no HDF5")
    text = (workspace.path / "configs/vqvae/tiny.yaml").read_text()
    broken = workspace.path / "configs/vqvae/broken.yaml"
    broken.write_text(text.replace("datasets/tiny.h5", "datasets/broken.h5"))
    options = ("--retries", "1", "--printshellcmds", "--", "results/broken/subset.h5")
    done = workspace.snakemake(*options, check=False)
    broken.unlink()
    dataset.unlink()
    said = done.stdout + done.stderr
    asked = re.findall(r"runtime=(\d+), mem_mb=(\d+)|mem_mb=(\d+).*runtime=(\d+)", said)
    assert [sorted(filter(None, one)) for one in asked] == [["2000", "30"], ["4000", "60"]], said


def test_every_rule_hands_its_threads_on():
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    options = re.findall(r"python -m spinlock\.stages\.\w+ (\S+ \S+)", rules)
    assert options == ["--threads {threads}"] * len(re.findall("^rule ", rules, re.MULTILINE))


def test_two_runs_that_would_write_the_same_file_are_told_so(workspace):
    lock = workspace.path / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("results/other/best_model.pt\n")
    try:
        refused = workspace.snakemake("results/other/best_model.pt", check=False)
        assert refused.returncode != 0
        assert "locked" in (refused.stdout + refused.stderr).lower()
        assert workspace.planned("results/tiny/best_model.pt") == {}
    finally:
        lock.unlink(missing_ok=True)


def test_two_experiments_on_the_same_operators_simulate_them_once(workspace):
    config = workspace.path / "configs/vqvae/larger_batches.yaml"
    text = (workspace.path / "configs/vqvae/tiny.yaml").read_text()
    config.write_text(text.replace("batch_size: 32", "batch_size: 64"))
    planned = workspace.planned("results/larger_batches/best_model.pt")
    assert planned == dict.fromkeys(("subset", "normalize", "cluster", "train"), 1)
    both = [f"results/{name}/best_model.pt" for name in ("tiny", "larger_batches")]
    anew = workspace.planned("--forceall", *both)
    assert anew == dict.fromkeys(("subset", "normalize", "cluster", "train", "generate"), 2)
