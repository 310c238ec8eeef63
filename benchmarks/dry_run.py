"""What reading this workflow costs: a dry run of it against one of an empty Snakefile.

Run as `python -m benchmarks.dry_run`; prints seconds of processor time, the least of several runs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 5
EMPTY = "rule all:\n    input: []\n"


def seconds(folder: Path, *targets: str) -> float:
    """Return the processor time of one dry run."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", *targets]
    before = os.times()
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    after = os.times()
    used = after.children_user - before.children_user
    return used + after.children_system - before.children_system


def main() -> None:
    """Measure both in turn, so that what else the machine does meets both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(EMPTY)
        runs = [
            (seconds(folder), seconds(ROOT, "results/arch_summary/best_model.pt"))
            for _ in range(RUNS)
        ]
    empty, ours = map(min, zip(*runs, strict=True))
    print(f"empty {empty:.2f} s, this workflow {ours:.2f} s: {ours - empty:+.2f} s")


if __name__ == "__main__":
    main()
