"""Rows between neighbouring train rows, for what few rows leave open.

The centres of k-means lie closer to the rows that they are fitted on than to any others, the more
so the fewer rows there are for each. Synthetic rows on the way from a row to one of its nearest
neighbours (Chawla et al., 2002, JAIR 16, "SMOTE") stand for the unseen rows between them.
"""

import torch
from torch import Tensor

from spinlock.tokenizer.network.rows import ROW_BLOCK

TIMES = 3  # that a row has another between it and a neighbour, at most
MOST_ROWS = 16_000  # in all: of more, k-means sees enough
NEIGHBOURS = 10
FARTHEST = 0.5  # of the way: the nearer end is the row itself


def with_rows_between(z: Tensor, generator: torch.Generator) -> Tensor:
    """Return rows z [n, E], and rows between them and their neighbours, as many as there is room.

    To rows of which two fit `MOST_ROWS` no more, none are added: z itself comes back.
    """
    times = min(TIMES, MOST_ROWS // max(len(z), 1) - 1)
    count = min(NEIGHBOURS, len(z) - 1)
    if times < 1 or count < 1:
        return z
    near = _neighbours(z, count)
    rows = [z]
    for _ in range(times):
        chosen = torch.randint(count, (len(z), 1), generator=generator).to(z.device)
        way = FARTHEST * torch.rand(len(z), 1, generator=generator).to(z.device)
        rows.append(torch.lerp(z, z[near.gather(1, chosen)[:, 0]], way))
    return torch.cat(rows)


def _neighbours(z: Tensor, count: int) -> Tensor:
    """Return the nearest other rows [n, count] of each row, in no order of equal ones."""
    found = []
    for first, block in enumerate(z.split(ROW_BLOCK)):
        distance = torch.cdist(block, z)
        itself = torch.arange(len(block), device=z.device)
        distance[itself, itself + first * ROW_BLOCK] = torch.inf
        found.append(distance.topk(count, largest=False).indices)
    return torch.cat(found)
