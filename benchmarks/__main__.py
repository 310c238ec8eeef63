"""Run the benchmarks and write benchmarks/results.json and results.md: `make bench`.

python -m benchmarks                        all of them
python -m benchmarks training encoding      some; the other results stay
python -m benchmarks --quick --output /tmp  tiny sizes: only shows that the programs work
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import encoding, scale, simulation, training
from benchmarks.measurement import Result, Settings, machine
from benchmarks.results import record
from spinlock.program import limit_threads

BENCHMARKS: dict[str, Callable[[Settings], dict[str, Result]]] = {
    "training": training.measure,
    "encoding": encoding.measure,
    "simulation": simulation.measure,
    "scale": scale.measure,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and record what was measured after each benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    settings = Settings(arguments.quick, arguments.threads)
    limit_threads(settings.threads)
    for name in arguments.names or BENCHMARKS:
        start = time.perf_counter()
        results = BENCHMARKS[name](settings)
        record(results, machine(settings), arguments.output)
        for key, result in results.items():
            print(
                f"{key}: {result.ours:.4g} {result.unit}, reference {result.reference:.4g}, "
                f"ratio {result.ratio:.2f}"
            )
        print(f"— {name}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
