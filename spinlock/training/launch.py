"""The stage train in several processes of this machine, started and watched by torchrun."""

import os
import sys
from collections.abc import Sequence

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

STAGE = ("-m", "spinlock.stages.train")


def start_together(processes: int, arguments: Sequence[str]) -> None:
    """Run the stage with these arguments in so many processes, which share the threads.

    Exits with the status of the process that failed first, where one does.
    """
    threads = str(max(1, torch.get_num_threads() // processes))
    os.environ["OMP_NUM_THREADS"] = threads
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="train",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)(*STAGE, *arguments, "--threads", threads)
    except ChildFailedError as failed:
        _, first = failed.get_first_failure()
        sys.exit(first.exitcode if first.exitcode > 0 else 128 - first.exitcode)
    except SignalException as signalled:
        sys.exit(128 + signalled.sigval)
