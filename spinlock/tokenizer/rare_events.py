"""Columns that hardly vary but for rare events, and rows in which the events meet anew.

After normalisation the few events of such a column weigh as much as all rows of another. With so
few of them the rows do not tell which come together: books that learn the combinations by heart
fail on the next one, books that also see the events apart can add them up.
"""

import torch
from torch import Tensor

RARE = 25.0  # kurtosis: the variance of about one row in so many, or fewer


def rare_directions(x: Tensor, axes: Tensor) -> Tensor:
    """Return the directions [R, E] of the columns with rare events among those of rows x [n, d].

    `axes` [E, d] are the orthonormal axes of the embedding. There is nothing to recombine, and
    none is returned, where the columns are a single one.
    """
    deviation = x - x.mean(dim=0)
    squares = deviation.square().mean(dim=0).clamp_min(torch.finfo(x.dtype).tiny)
    kurtosis = (deviation / squares.sqrt()).pow(4).mean(dim=0)
    rare = kurtosis > RARE if x.shape[1] > 1 else torch.zeros_like(kurtosis, dtype=torch.bool)
    return axes.T[rare]


def with_recombined(z: Tensor, directions: Tensor, generator: torch.Generator) -> Tensor:
    """Return embeddings z [n, E] and, below them, the same with their rare events dealt out anew.

    Every direction's coordinates go to the rows in an order of their own; what is orthogonal
    to the directions stays. Without directions, z is returned as it is.
    """
    if not len(directions):
        return z
    recombined = z.clone()
    for direction in directions:
        coordinate = z @ direction
        dealt = coordinate[torch.randperm(len(z), generator=generator).to(z.device)]
        recombined += torch.outer(dealt - coordinate, direction)
    return torch.cat([z, recombined])
