"""The workflow on a real Slurm: the same model as on one machine, whatever happens to its jobs.

The default experiment is run with fewer operators, all of them with SPINLOCK_SLURM_FULL=1.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).parents[2]
FULL = bool(os.environ.get("SPINLOCK_SLURM_FULL"))
COPIED = ("Snakefile", "workflow", "profiles", "spinlock", "envs", "configs")
MINUTES = 60
RUN_SECONDS = (60 if FULL else 15) * MINUTES
# the number of threads decides the order of sums, and so the last bits
SAME_THREADS = ("--max-threads", "1")
ON_SLURM = (
    "--workflow-profile", "profiles/slurm",
    # without a database, sacct knows nothing: neither of accounts nor of finished jobs
    "--slurm-no-account",
    "--slurm-status-command", "squeue",
    "--slurm-init-seconds-before-status-checks", "3",
    "--seconds-between-status-checks", "3",
    "--latency-wait", "5",
)  # fmt: skip
FILES = ("best_model.pt", "metrics.json", "tokens.h5")
FEWER = {
    "max_samples": 200,
    "num_categories_auto": 4,
    "num_epochs": 30,
    "checkpoint_dir": "checkpoints\nmodel: {bits: 48, group_embedding_dim: 16}",
}
FAULTS = ("cancelled", "timed_out", "slurmd_killed", "power_cut")
EPOCHS = 40 if FULL else 400  # long enough to be met while it runs
GOING_ON = re.compile(r"going on (after|in) epoch [1-9]")


class Checkout:
    """A copy of the workflow with its own configurations, datasets and results."""

    def __init__(self, path: Path, environment: dict[str, str]):
        self.path = path
        self.environment = environment | {"PYTHONPATH": str(path)}

    def snakemake(self, *arguments: str) -> None:
        """Run Snakemake on this machine."""
        with self.running("--cores", "2", *arguments) as finish:
            finish()

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Callable[[], str]]:
        """Start Snakemake; give a function that waits for its success and returns its output."""
        shown = self.path / "snakemake.log"
        with shown.open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "snakemake", *SAME_THREADS, *arguments],
                cwd=self.path,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        def finish() -> str:
            assert process.wait(RUN_SECONDS) == 0, shown.read_text()
            return shown.read_text()

        try:
            yield finish
        except AssertionError as error:
            error.add_note(shown.read_text())
            raise
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def checkpoint(self, experiment: str) -> dict:
        """Return the entries of a trained model."""
        path = self.path / "results" / experiment / "best_model.pt"
        return torch.load(path, weights_only=True)

    def log(self, experiment: str) -> str:
        """Return what the (last) training of an experiment said."""
        return (self.path / "results" / experiment / "logs/train.log").read_text()

    def epochs_saved(self, experiment: str) -> int:
        """Return how many epochs of a running training are on disk."""
        path = self.path / "results" / experiment / "state/last.pt"
        try:
            return torch.load(path, weights_only=True)["training_state"]["epoch"]
        except FileNotFoundError:
            return 0


def make_checkout(path: Path, environment: dict[str, str]) -> Checkout:
    path.mkdir(exist_ok=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, path / name)
    return Checkout(path, environment)


def edit(path: Path, **values: object) -> None:
    """Change values of keys that a configuration has."""
    text = path.read_text()
    for key, value in values.items():
        text, found = re.subn(rf"^( *{key}:).*$", rf"\1 {value}", text, flags=re.MULTILINE)
        assert found == 1, f"{path.name} has {found} keys {key}"
    path.write_text(text)


def same_tensors(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(tensor, theirs[name]) for name, tensor in ours.items()
    )


def megabytes(job: dict[str, str]) -> int:
    amount, unit = re.search(r"mem=([\d.]+)([MG])", job["TRES"]).groups()
    return round(float(amount) * {"M": 1, "G": 1024}[unit])


def signal_process(number: int, *words: str) -> bool:
    """Send a signal to the process whose command line has these words; return if there is one."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
            # the module's name is an argument of its own; in a shell's command it is not
            if words[0] in command and all(any(word in part for part in command) for word in words):
                os.kill(int(place.name), number)
                return True
        except OSError:
            continue  # it ended meanwhile
    return False


@pytest.fixture(scope="session")
def local(tmp_path_factory, cluster) -> Checkout:
    """Give a checkout in which the default experiment has run on this machine."""
    made = make_checkout(tmp_path_factory.mktemp("local"), cluster.environment)
    if not FULL:
        edit(made.path / "configs/vqvae/arch_summary.yaml", **FEWER)
        edit(made.path / "configs/datasets/baseline_10k.yaml", shard_size=100)
    made.snakemake("results/arch_summary/best_model.pt")
    return made


def test_the_default_experiment_on_slurm_gives_the_local_model(local, cluster, tmp_path):
    remote = make_checkout(tmp_path / "remote", cluster.environment)
    shutil.copytree(local.path / "configs", remote.path / "configs", dirs_exist_ok=True)
    with remote.running(*ON_SLURM, *(f"results/arch_summary/{name}" for name in FILES)) as finish:
        finish()
    ours, theirs = (one.checkpoint("arch_summary") for one in (local, remote))
    assert same_tensors(ours["model_state_dict"], theirs["model_state_dict"])
    assert ours["history"] == theirs["history"]

    shards = len(list((remote.path / "datasets/baseline_10k").glob("shard_*.h5")))
    expected = {"rule_generate": shards, "rule_prepare": 1}
    expected |= {f"rule_{rule}": 1 for rule in ("train", "evaluate", "encode")}
    for name, number in expected.items():
        jobs = cluster.jobs(name)
        assert [job["JobState"] for job in jobs] == ["COMPLETED"] * number, name
        on_gpu = name in {"rule_train", "rule_encode"}
        for job in jobs:
            assert job["Partition"] == ("gpu" if on_gpu else "cpu"), name
            assert (job.get("TresPerJob") == "gres:gpu:1") == on_gpu, name
    sent = [job for job in cluster.jobs("") if job["WorkDir"] == str(remote.path)]
    assert len(sent) == sum(expected.values())


def checkout_with_dataset(path: Path, local: Checkout) -> Checkout:
    """Give a checkout with the configurations of another, and the dataset that it simulated."""
    made = make_checkout(path, local.environment)
    shutil.copytree(local.path / "configs", made.path / "configs", dirs_exist_ok=True)
    shutil.copytree(local.path / "datasets", made.path / "datasets")
    shutil.copytree(local.path / ".snakemake", made.path / ".snakemake")
    return made


def test_two_processes_of_a_job_give_the_model_of_two_on_this_machine(local, cluster, tmp_path):
    here, remote = (checkout_with_dataset(tmp_path / name, local) for name in ("here", "remote"))
    model = "results/arch_summary/best_model.pt"
    here.snakemake("--resources", "gpu=2", "--set-resources", "train:gpu=2", "--", model)
    profile = remote.path / "profiles/slurm/config.yaml"
    train = "slurm_partition: gpu\n"  # in the profile the first rule on GPUs
    profile.write_text(profile.read_text().replace(train, f"{train}    gpu: 2\n", 1))
    with remote.running(*ON_SLURM, model) as finish:
        finish()
    ours, theirs = (one.checkpoint("arch_summary") for one in (here, remote))
    assert same_tensors(ours["model_state_dict"], theirs["model_state_dict"])
    assert ours["history"] == theirs["history"]
    provenance = json.loads((remote.path / model).with_name("provenance.json").read_text())
    assert provenance["processes"] == 2
    jobs = [job for job in cluster.jobs("rule_train") if job["WorkDir"] == str(remote.path)]
    assert [job["TresPerJob"] for job in jobs] == ["gres:gpu:2"]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, cluster, local) -> Checkout:
    """Give a checkout with experiments that lack but their training, and one that is finished."""
    made = checkout_with_dataset(tmp_path_factory.mktemp("faulty"), local)
    config = made.path / "configs/vqvae/arch_summary.yaml"
    edit(config, num_epochs=f"{EPOCHS}\n  early_stopping_patience: {EPOCHS}")
    resume = made.path / "spinlock/training/resume.py"
    resume.write_text(resume.read_text().replace("SAVE_SECONDS = 5.0", "SAVE_SECONDS = 0.5"))
    for name in FAULTS:
        shutil.copy(config, config.with_stem(name))
    made.snakemake(
        "results/arch_summary/best_model.pt",
        *(f"results/{name}/categories.json" for name in FAULTS),
    )
    return made


def unharmed(checkout: Checkout, experiment: str) -> bool:
    """Return whether a training ended as the one that nothing happened to."""
    ours, theirs = checkout.checkpoint(experiment), checkout.checkpoint("arch_summary")
    return (
        same_tensors(ours["model_state_dict"], theirs["model_state_dict"])
        and ours["history"] == theirs["history"]
        and ours["metrics"] == theirs["metrics"]
    )


def kill_twice(cluster, *words: str) -> None:
    for _ in range(2):
        cluster.wait_until(lambda: signal_process(signal.SIGKILL, *words), f"a process of {words}")
        cluster.wait_until(lambda: not signal_process(0, *words), "its end")


def states(jobs: list[dict[str, str]]) -> list[str]:
    return [job["JobState"] for job in jobs]


def test_jobs_that_fail_are_sent_again_with_more_memory_and_trainings_go_on(faulty, cluster):
    dataset = faulty.path / "datasets/baseline_10k"
    number = f"{len(list(dataset.glob('shard_*.h5'))):05d}"  # the first that is not there
    shard = f"datasets/baseline_10k/shard_{number}.h5"
    targets = ["results/cancelled/best_model.pt", "results/timed_out/best_model.pt", shard]
    with faulty.running(*ON_SLURM, *targets) as finish, ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_twice, cluster, "spinlock.stages.generate", shard)
        cluster.wait_until(lambda: faulty.epochs_saved("timed_out"), "a saved state of timed_out")
        assert signal_process(signal.SIGSTOP, "spinlock.stages.train", "timed_out")
        cluster.wait_until(lambda: faulty.epochs_saved("cancelled"), "a saved state of cancelled")
        cluster.ask("scancel", cluster.jobs("train_wildcards_cancelled")[0]["JobId"])
        job = cluster.jobs("train_wildcards_timed_out")[0]["JobId"]
        cluster.ask("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        killed.result()
        finish()
    for name, state in (("cancelled", "CANCELLED"), ("timed_out", "TIMEOUT")):
        jobs = cluster.jobs(f"train_wildcards_{name}")
        assert states(jobs) == [state, "COMPLETED"]
        assert [megabytes(job) for job in jobs] == [8000, 16000]
        assert GOING_ON.search(faulty.log(name))
        assert unharmed(faulty, name)
    jobs = cluster.jobs(f"generate_wildcards_baseline_10k_{number}")
    assert states(jobs) == ["FAILED", "FAILED", "COMPLETED"]
    assert [megabytes(job) for job in jobs] == [1000, 2000, 3000]


def test_a_training_outlives_the_daemon_that_started_it(faulty, cluster):
    name = "slurmd_killed"
    with faulty.running(*ON_SLURM, f"results/{name}/best_model.pt") as finish:
        cluster.wait_until(lambda: faulty.epochs_saved(name), "a saved state")
        cluster.kill_node(with_jobs=False)
        cluster.start_node()
        finish()
    assert states(cluster.jobs(f"train_wildcards_{name}")) == ["COMPLETED"]
    assert not GOING_ON.search(faulty.log(name))
    assert unharmed(faulty, name)


def test_a_training_goes_on_after_its_node_lost_power(faulty, cluster):
    name = "power_cut"
    with faulty.running(*ON_SLURM, f"results/{name}/best_model.pt") as finish:
        cluster.wait_until(lambda: faulty.epochs_saved(name), "a saved state")
        cluster.kill_node(with_jobs=True)
        cluster.wait_until(lambda: cluster.node_state() == "down", "Slurm to miss the node")
        cluster.start_node()
        finish()
    jobs = cluster.jobs(f"train_wildcards_{name}")
    assert states(jobs)[-1] == "COMPLETED"
    assert len(jobs) + sum(int(job["Restarts"]) for job in jobs) == 2
    assert GOING_ON.search(faulty.log(name))
    assert unharmed(faulty, name)
