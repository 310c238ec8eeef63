"""What a benchmark gives, and how two programs are timed side by side."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from spinlock.tokenizer.network.products import quick_products

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "h5py", "numba", "faiss-cpu")
SGEMM_SIZE = 2048


@dataclass(frozen=True)
class Result:
    """One measured comparison.

    Attributes
    ----------
    ours, reference : float
        In `unit`; the reference is another program, or a goal, as `conditions` says.
    unit : str
    higher_is_better : bool
    conditions : str
        All that somebody needs to judge the numbers.
    """

    ours: float
    reference: float
    unit: str
    conditions: str
    higher_is_better: bool = False

    @property
    def ratio(self) -> float:
        """How many times better ours is: above 1 is better, whatever the unit."""
        best, other = self.ours, self.reference
        return best / other if self.higher_is_better else other / best


@dataclass(frozen=True)
class Settings:
    """How much is measured: `quick` only shows that the programs work."""

    quick: bool = False
    threads: int = 2


def interleaved(
    programs: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of every program in every round; each round runs all of them.

    The order turns by one place per round, so that none always follows the same other.
    """
    names = list(programs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_number in range(rounds):
        first = round_number % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            programs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def typical(seconds: list[float]) -> float:
    """Return the median: a busy neighbour then costs a round, not the result."""
    return statistics.median(seconds)


def compared(
    seconds: Mapping[str, list[float]],
    reference: str,
    *,
    per: float,
    unit: str,
    conditions: str,
    ours: str = "ours",
) -> Result:
    """Return `ours` beside one of the other programs, in seconds divided by `per`.

    The ratio that counts is the median over rounds of the ratio within a round.
    """
    pairs = zip(seconds[ours], seconds[reference], strict=True)
    ratio = statistics.median(other / own for own, other in pairs)
    own = typical(seconds[ours]) / per
    return Result(own, own * ratio, unit, conditions)


def sgemm_rate() -> float:
    """Return the floating-point operations per second of a large float32 matrix product."""
    a, b = torch.randn(SGEMM_SIZE, SGEMM_SIZE), torch.randn(SGEMM_SIZE, SGEMM_SIZE)
    with quick_products(a):
        best = min(interleaved({"sgemm": lambda: a @ b}, 8)["sgemm"])
    return 2 * SGEMM_SIZE**3 / best


def installed(package: str) -> str:
    """Return the version of a package, or that there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def machine(settings: Settings) -> dict[str, str]:
    """Return what the numbers were measured on."""
    return {
        "processor": f"{processor_name()}, {len(os.sched_getaffinity(0))} cores",
        "threads": str(settings.threads),
        "python": platform.python_version(),
        **{package: installed(package) for package in PACKAGES},
    }


def processor_name() -> str:
    """Return the processor's name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
