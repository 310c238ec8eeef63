"""Do the tests reach enough of the lines, and enough of the branches? Each counts on its own.

    python -m tests.coverage_shares REPORT.json

The report is that of `coverage json`; the status is 1 where a share is below `ENOUGH`.
"""

import json
import sys
from pathlib import Path

ENOUGH = 0.95


def shares(report: Path) -> dict[str, float]:
    """Return which share of the lines and of the branches was reached."""
    totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
    return {
        "lines": totals["covered_lines"] / totals["num_statements"],
        "branches": totals["covered_branches"] / totals["num_branches"],
    }


if __name__ == "__main__":
    reached = shares(Path(sys.argv[1]))
    for name, share in reached.items():
        print(f"{name}: {share:.2%}, at least {ENOUGH:.0%} wanted")
    sys.exit(min(reached.values()) < ENOUGH)
