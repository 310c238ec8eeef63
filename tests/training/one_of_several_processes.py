"""A process of a training in several, started by test_processes.py; writes what it ends with."""

import logging
import sys
from pathlib import Path

import torch
from torch import distributed

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import Rows
from spinlock.training.loop import Trainer


def train(start: Path, use_rank: int, ends: Path) -> None:
    """Train from what `start` holds, and write the state of model, history and what it told."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    shape, weights, rows, validation, plan, state = torch.load(start, weights_only=False)
    model = TokenizerModel(shape).double()
    model.load_weights(weights)
    trainer = Trainer(model, Rows(rows), Rows(validation), plan)
    if state:
        trainer.load_state_dict(state)
    for _ in trainer.run():
        pass
    torch.save((model.state_dict(), trainer.history, told), ends / f"{use_rank}.pt")


if __name__ == "__main__":
    rank, n_processes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=n_processes)
    train(folder / "start.pt", rank, folder)
    distributed.barrier()  # gloo has ended one that left while another still talked
    distributed.destroy_process_group()
