"""concatenate: join the shards of a dataset, in order, into one HDF5 file."""

from collections.abc import Sequence
from pathlib import Path

from spinlock.features.concatenation import concatenate
from spinlock.features.dataset import is_dataset, open_dataset
from spinlock.features.hdf5 import create_hdf5
from spinlock.files import refuse_overwriting, refuse_replacing
from spinlock.program import execute, stage_parser


def run(shards: Sequence[Path], output: Path) -> None:
    """Write the operators of all shards, in order, to one file.

    Raises
    ------
    SpinlockError
        When the shards differ, or the output is one of them, or a file that is no dataset.
    """
    refuse_overwriting([output], shards)
    refuse_replacing(output, is_dataset)
    open_dataset(shards).close()  # tells what is missing or differs before anything is written
    with create_hdf5(output) as file:
        concatenate(shards, file)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--shards", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()
