"""Mutation test: small mistakes are put into modules, and their tests must notice each.

    python -m tests.mutation [--jobs 2] [module ...]

The mistakes are those of cosmic-ray (`pip install '.[mutation]'`). Each is tested in a fork
of a process that has imported torch and pytest already, with the mutated source in place of the
module's own; no file is changed. `survivors.yaml` lists the mistakes that no test can or need
notice, and why: the status is 1 when another one survives, or one of these does not.
"""

import argparse
import contextlib
import importlib.machinery
import importlib.util
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

NORMALIZATION = [  # what was fitted is applied: the tests of both tell mistakes in either
    "tests/tokenizer/normalization/test_statistics.py",
    "tests/tokenizer/normalization/test_fitting.py",
]
METRICS = ["tests/tokenizer/test_target_metrics.py", "tests/analysis/test_metrics.py"]
TARGETS = {
    "spinlock/tokenizer/network/quantizer.py": ["tests/tokenizer/network/test_quantizer.py"],
    "spinlock/tokenizer/network/codebook.py": ["tests/tokenizer/network/test_codebook.py"],
    "spinlock/tokenizer/start/kmeans.py": ["tests/tokenizer/start/test_kmeans.py"],
    "spinlock/tokenizer/network/token_search.py": ["tests/tokenizer/network/test_token_search.py"],
    "spinlock/tokenizer/network/losses.py": ["tests/tokenizer/network/test_losses.py"],
    "spinlock/tokenizer/normalization/statistics.py": NORMALIZATION,
    "spinlock/tokenizer/normalization/fitting.py": NORMALIZATION,
    "spinlock/tokenizer/target_metrics.py": METRICS,
    "spinlock/analysis/metrics.py": METRICS,
}
SURVIVORS = Path(__file__).with_name("survivors.yaml")
SLOWDOWN = 4  # a mutant whose tests compute so many times longer than usual does not end
OPERATORS = [
    *[
        f"core/ReplaceBinaryOperator_{change}"
        for change in (
            "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "BitAnd_BitOr", "BitOr_BitAnd",
        )
    ],
    *[
        f"core/ReplaceComparisonOperator_{change}"
        for change in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq")
    ],
    *[f"core/ReplaceUnaryOperator_Delete_{sign}" for sign in ("USub", "Not", "Invert")],
    *[
        f"core/{name}"
        for name in (
            "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr",
            "ReplaceOrWithAnd", "NumberReplacer", "RemoveDecorator", "ZeroIterationForLoop",
            "ReplaceBreakWithContinue", "ReplaceContinueWithBreak",
        )
    ],
]  # fmt: skip


class Mutant(NamedTuple):
    """One mistake: the module's file, its source with the mistake, and the lines that differ."""

    path: str
    source: str
    line: int
    was: str
    becomes: str


def mutants_of(path: str) -> Iterator[Mutant]:
    """Give the mutants of a module, each once."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = Path(path).read_text(encoding="utf-8")
    seen = {source}
    for name in OPERATORS:
        occurrence = 0
        while (mutated := mutate_code(source, get_operator(name)(), occurrence)) is not None:
            occurrence += 1
            if mutated not in seen:
                seen.add(mutated)
                yield Mutant(path, mutated, *_difference(source, mutated))


def _difference(source: str, mutated: str) -> tuple[int, str, str]:
    """Return the number of the first line that differs, and what differs before and after."""
    old, new = source.splitlines(), mutated.splitlines()
    first = next(i for i, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1])
    last = 1
    while old[-last] == new[-last]:
        last += 1
    was, becomes = (
        " ".join(line.strip() for line in lines[first : len(lines) - last + 1])
        for lines in (old, new)
    )
    return first + 1, was, becomes


def survives(mutant: Mutant, seconds: float) -> bool:
    """Whether the module's tests pass with this mistake; runs in a process of its own."""
    import pytest

    name = mutant.path.removesuffix(".py").replace("/", ".")

    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname: str) -> object:
            return compile(mutant.source, mutant.path, "exec")

    class Finder:
        @staticmethod
        def find_spec(wanted: str, *_: object) -> importlib.machinery.ModuleSpec | None:
            if wanted != name:
                return None
            loader = Loader(name, mutant.path)
            return importlib.util.spec_from_file_location(name, mutant.path, loader=loader)

    def end(*_: object) -> None:
        raise KeyboardInterrupt  # an exception would be taken for a failure, and repeated

    os.environ["HYPOTHESIS_PROFILE"] = "quick"
    sys.meta_path.insert(0, Finder)
    signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # of computing: a busy machine ends no mutant
    # the parent has imported what pytest would rather import itself
    ignored = "ignore::pytest.PytestAssertRewriteWarning"
    options = ["--exitfirst", "--quiet", "-p", "no:cacheprovider", "-W", ignored]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
        try:
            return pytest.main([*options, *TARGETS[mutant.path]]) == 0
        except BaseException:  # what a mistake may raise while the module is imported
            return False


def _test(task: tuple[Mutant, float]) -> tuple[Mutant, bool, float]:
    """Return the mutant, whether it survives, and the seconds of computing."""
    alive = survives(*task)
    return task[0], alive, time.process_time()


def main() -> int:
    """Test all mutants of the modules; print those that survive and are not accounted for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("modules", nargs="*", default=[], choices=[[], *TARGETS])
    arguments = parser.parse_args()
    _import_what_tests_need()
    listed = yaml.safe_load(SURVIVORS.read_text(encoding="utf-8")) or {}
    unexpected = 0
    for path in arguments.modules or TARGETS:
        known = {(one["was"], one["becomes"]) for one in listed.get(path, [])}
        survived = _survivors(path, arguments.jobs)
        found = {(one.was, one.becomes) for one in survived}
        for one in survived:
            if (one.was, one.becomes) not in known:
                print(f"survives: {path}:{one.line}\n  - {one.was}\n  + {one.becomes}", flush=True)
        for was, becomes in known - found:
            print(f"listed, but does not survive: {path}\n  - {was}\n  + {becomes}", flush=True)
        unexpected += len(found ^ known)
    return int(unexpected > 0)


def _survivors(path: str, jobs: int) -> list[Mutant]:
    mutants = list(mutants_of(path))
    source = Path(path).read_text(encoding="utf-8")
    # a process for each: it has imported nothing of this package, and ends with its test
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        started = time.monotonic()
        unchanged = Mutant(path, source, 0, "", "")
        _, passes, usual = pool.apply(_test, ((unchanged, 600.0),))
        if not passes:
            sys.exit(f"the tests of {path} fail without any mistake")
        tasks = [(mutant, SLOWDOWN * usual + 5) for mutant in mutants]
        outcomes = list(pool.imap_unordered(_test, tasks, chunksize=1))
    survived = sorted((one for one, alive, _ in outcomes if alive), key=lambda one: one.line)
    took = time.monotonic() - started
    print(f"{path}: {len(mutants)} mutants, {len(survived)} survive, {took:.0f} s", flush=True)
    return survived


def _import_what_tests_need() -> None:
    """Import the libraries that all tests use, so that every fork has them."""
    for name in ("torch", "scipy.stats", "sklearn.manifold", "h5py", "hypothesis", "pytest"):
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    sys.exit(main())
