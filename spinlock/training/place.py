"""The place in an epoch: what a training that is cut off between two batches has to remember."""

from typing import Any

import torch
from torch import Tensor

from spinlock.tokenizer.network.processes import process_rank
from spinlock.training.callbacks import CodebookUse
from spinlock.training.objective import ROW_MEANS


class EpochPlace:
    """An epoch that is running: its order of rows, and what was collected of those that are done.

    Parameters
    ----------
    order : int Tensor [N]
        The rows in the order of this epoch.
    noise : torch.Generator
        Of the noise on the encoder's input.
    use : CodebookUse

    Attributes
    ----------
    done : int
        Batches done.
    terms : list of Tensor
        Loss terms of these batches.
    """

    def __init__(self, order: Tensor, noise: torch.Generator, use: CodebookUse):
        self.order = order
        self.noise = noise
        self.use = use
        self.done = 0
        self.terms: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        """Return all that the rest of the epoch depends on, dropout's random state included."""
        return {
            "order": self.order,
            "noise": self.noise.get_state(),
            "counts": self.use.all_counts,
            "done": self.done,
            "terms": self.terms,
            "random": _random_states(self.order.device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        It is of whole batches. Several processes add what each has: the first has it.
        """
        device = self.order.device
        self.order = state["order"].to(device)
        self.noise.set_state(state["noise"].cpu())
        self.use.all_counts = state["counts"].to(device)
        self.done = state["done"]
        self.terms = [terms.to(device) for terms in state["terms"]]
        if process_rank() > 0:
            self.use.all_counts.zero_()
            means = torch.tensor(ROW_MEANS, device=device)
            self.terms = [terms * ~means for terms in self.terms]
        torch.set_rng_state(state["random"]["cpu"].cpu())
        if device.type in state["random"] and device.type != "cpu":
            torch.get_device_module(device).set_rng_state(state["random"][device.type].cpu())


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states
