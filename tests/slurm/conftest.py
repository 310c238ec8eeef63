"""A real Slurm of one node on loopback, for as long as the tests last; root on Debian only.

The packages stay; all else lives in a folder of its own, the authentication key included, but for
one link in /etc/slurm, since jobs ask for their cluster there. A machine that has a Slurm already
is left alone.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
NODE = "testnode"
SPARE_DEVICES = ("/dev/null", "/dev/zero", "/dev/full")  # stand in for GPUs: nothing opens them
SYSTEM_CONFIG = Path("/etc/slurm/slurm.conf")
MARK = "SPINLOCK_TEST_CLUSTER"  # variable that everything started by the cluster inherits
POLICY = Path("/usr/sbin/policy-rc.d")  # what keeps dpkg from starting daemons
CONFIG = """\
ClusterName=spinlocktest
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
# finished jobs stay visible: Snakemake and the tests ask slurmctld about them
MinJobAge=3600
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/finished_jobs
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=bf_interval=5
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=10
MessageTimeout=30
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=32 RealMemory=64000 Gres=gpu:{gpus}
PartitionName=cpu Nodes={node} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={node} MaxTime=INFINITE State=UP
"""


class Cluster:
    """A Slurm of one node: its daemons, and what it knows of its jobs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = folder / "slurm.conf"
        self.environment = os.environ | {MARK: str(folder)}
        self._daemons: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        """Write the configuration, start the daemons, and wait until the node takes jobs."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self.config.write_text(
            CONFIG.format(
                folder=self.folder, ports=_free_ports(2), node=NODE, gpus=len(SPARE_DEVICES)
            )
        )
        devices = [f"NodeName={NODE} Name=gpu File={device}\n" for device in SPARE_DEVICES]
        (self.folder / "gres.conf").write_text("".join(devices))
        SYSTEM_CONFIG.parent.mkdir(exist_ok=True)
        SYSTEM_CONFIG.unlink(missing_ok=True)
        SYSTEM_CONFIG.symlink_to(self.config)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        munge = {
            "--socket": "munge.socket",
            "--key-file": key.name,
            "--pid-file": "munged.pid",
            "--log-file": "munged.log",
            "--seed-file": "munged.seed",
        }
        options = [f"{option}={self.folder / name}" for option, name in munge.items()]
        self._run("munged", "--foreground", *options)
        self.wait_until((self.folder / "munge.socket").exists, "munged", 20)
        self._run("slurmctld", "-D", "-f", str(self.config))
        self.wait_until(lambda: "UP" in self.ask("scontrol", "ping", check=False), "slurmctld", 30)
        self.start_node()

    def start_node(self) -> None:
        """Start slurmd and wait until the node takes jobs."""
        self._run("slurmd", "-D", "-N", NODE, "-f", str(self.config))
        self.wait_until(lambda: self.node_state() in {"idle", "mixed", "allocated"}, "the node", 60)

    def kill_node(self, *, with_jobs: bool) -> None:
        """Kill slurmd outright; with what it runs, as when a machine loses its power."""
        daemon = self._daemons.pop("slurmd")
        daemon.kill()
        daemon.wait()
        if with_jobs:
            self._kill_jobs()

    def node_state(self) -> str:
        """Return the state of the node, without the marks that Slurm adds to it."""
        answer = self.ask("sinfo", "--noheader", "--nodes", NODE, "--format", "%T", check=False)
        return answer.split("\n")[0].rstrip("*~#!%$@^-+")

    def ask(self, *command: str, check: bool = True) -> str:
        """Return what a Slurm command prints."""
        done = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def jobs(self, comment: str) -> list[dict[str, str]]:
        """Return Slurm's records of the jobs whose comment contains a text, oldest first."""
        shown = self.ask("scontrol", "show", "job", "--oneliner", "--all").splitlines()
        records = [
            dict(word.split("=", 1) for word in line.split() if "=" in word) for line in shown
        ]
        chosen = [record for record in records if comment in record.get("Comment", "")]
        return sorted(chosen, key=lambda record: int(record["JobId"]))

    @staticmethod
    def wait_until(condition: Callable[[], object], what: str, seconds: float = 400) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds:.0f} s for this: {what}"
            time.sleep(0.1)

    def stop(self) -> None:
        """End all jobs and daemons of this cluster, whatever state they are in."""
        self._kill_jobs()
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._kill_jobs()
        SYSTEM_CONFIG.unlink(missing_ok=True)

    def logs(self) -> str:
        """Return the last lines of every daemon's output."""
        texts = [
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted(self.folder.glob("*.log"))
        ]
        return "\n".join(texts)

    def _run(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        with (self.folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                # a daemon ends with the tests, also when those are killed
                ["setpriv", "--pdeathsig", "TERM", str(program), *options],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _kill_jobs(self) -> None:
        """Kill every process of this cluster that is no daemon: steps, jobs and their children."""
        mark = f"{MARK}={self.folder}".encode()
        for place in Path("/proc").glob("[0-9]*"):
            try:
                # a step's variables are overwritten by its title, but no other Slurm is here
                is_step = (place / "comm").read_text().strip() == "slurmstepd"
                variables = (place / "environ").read_bytes().split(b"\0")
                in_job = any(one.startswith(b"SLURM_JOB_ID=") for one in variables)
                if is_step or (mark in variables and in_job):
                    os.kill(int(place.name), signal.SIGKILL)
            except OSError:
                continue  # it ended meanwhile


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _missing_packages() -> list[str]:
    query = ("dpkg-query", "--show", "--showformat=${db:Status-Status}")
    states = {
        name: subprocess.run([*query, name], capture_output=True, text=True, check=False).stdout
        for name in PACKAGES
    }
    return [name for name, state in states.items() if state != "installed"]


def _install(packages: list[str]) -> str | None:
    """Install packages, their daemons left alone; return why that did not work, if it did not."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    try:
        for command in (install, ["apt-get", "update", "--quiet"], install):
            done = subprocess.run(
                command,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            if command is install and done.returncode == 0:
                return None
        return f"apt-get cannot install {' '.join(packages)}: {done.stderr.strip()[-300:]}"
    except subprocess.TimeoutExpired:
        return f"apt-get took too long to install {' '.join(packages)}"
    finally:
        if ours:
            POLICY.unlink()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give a running Slurm; without one, say why the tests are skipped."""
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        pytest.skip("Slurm is tested only by root on Debian: slurmd starts jobs for their owners")
    foreign = SYSTEM_CONFIG.exists() and "/spinlock-slurm-" not in str(SYSTEM_CONFIG.resolve())
    if foreign:
        pytest.skip(f"this machine has a Slurm already ({SYSTEM_CONFIG}), which is left alone")
    missing = _missing_packages()
    problem = _install(missing) if missing else None
    if problem:
        pytest.skip(f"no Slurm to test with: {problem}")
    # munged accepts folders that none but root can write to
    made = Cluster(Path(tempfile.mkdtemp(prefix="spinlock-slurm-", dir="/run")))
    made.folder.chmod(0o755)
    # a terminated pytest ends like an interrupted one, through this clean-up
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            made.start()
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"Slurm does not start on this machine: {error}\n{made.logs()}")
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.folder, ignore_errors=True)
