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
    codes_reset : int
        Dead codes that were moved.
    """

    def __init__(self, order: Tensor, noise: torch.Generator, use: CodebookUse):
        self.order = order
        self.noise = noise
        self.use = use
        self.done = 0
        self.terms: list[Tensor] = []
        self.codes_reset = 0

    def state_dict(self) -> dict[str, Any]:
        """Return all that the rest of the epoch depends on, dropout's random state included."""
        return {
            "order": self.order,
            "noise": self.noise.get_state(),
            "counts": self.use.all_counts,
            "done": self.done,
            "terms": self.terms,
            "codes_reset": self.codes_reset,
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
        self.done, self.codes_reset = state["done"], state["codes_reset"]
        self.terms = [terms.to(device) for terms in state["terms"]]
        if process_rank() > 0:
            self.use.all_counts.zero_()
            means = torch.tensor(ROW_MEANS, device=device)
            self.terms = [terms * ~means for terms in self.terms]
        _set_random_states(state["random"], device)


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Go on with the saved random states; processes beside the first drop other units than it."""
    torch.set_rng_state(states["cpu"].cpu())
    if process_rank() > 0:
        torch.manual_seed(int(torch.randint(2**31, ())) + process_rank())
    elif device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
