"""Run one stage as a program, and say how long it took and how much memory it held at most.

    python -m benchmarks.peak_memory spinlock.stages.subset --config …

The last line of standard output is JSON: seconds and processor_seconds (imports left out), and
peak_bytes.
"""

import importlib
import json
import resource
import sys
import time
from pathlib import Path


def peak_resident() -> int:
    """Return the most memory that this program held, in bytes.

    Linux counts it since the program began; the portable figure also sees its parent.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(argv: list[str]) -> None:
    """Run the stage named first with the arguments that follow."""
    stage = importlib.import_module(argv[0])
    start, busy_before = time.perf_counter(), time.process_time()
    stage.main(argv[1:])
    measured = {
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - busy_before,
        "peak_bytes": peak_resident(),
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main(sys.argv[1:])
