"""The values that columns take, and books of all their combinations where these are few."""

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.start.kmeans import kmeans

ROUNDING = 1e-3  # deviations that rounding may be off: neighbours that are closer are one value


def numbers_of_values(x: np.ndarray) -> np.ndarray:
    """Return how many different values each column [d] of rows x [n, d] takes."""
    ascending = np.sort(x, axis=0)
    return 1 + (ascending[1:] != ascending[:-1]).sum(axis=0)


def codes_of_values(
    x: Tensor, k: int, generator: torch.Generator, iterations: int = 20, *, spread: bool = True
) -> Tensor:
    """Return k codes [k, d] for rows x [n, d]: all combinations of values, or else by k-means.

    Combinations repeat where there are fewer than k.
    """
    codes = all_combinations(x, k)
    if codes is None:
        return kmeans(x, k, generator, iterations, spread=spread)
    return codes[torch.arange(k, device=x.device) % len(codes)]


def all_combinations(x: Tensor, most: int) -> Tensor | None:
    """Return every combination of the values of the columns of rows x [n, d], seen or not.

    Rows of few values show few of their combinations. A book that holds all of them tells an
    unseen row as well as a seen one.

    Returns
    -------
    Tensor [m, d] or None
        None where there are more than `most`.
    """
    values, number = [], 1
    for column in x.T:
        values.append(_values(column))
        number *= len(values[-1])
        if number > most or not len(values[-1]):
            return None
    combined = torch.cartesian_prod(*values) if values else x.new_empty(1, 0)
    return combined.reshape(number, x.shape[1])


def _values(column: Tensor) -> Tensor:
    """Return the values of a column [n], ascending; none where they run into one another."""
    ascending = column.sort().values
    apart = ascending.diff() > ROUNDING
    one = apart.new_ones(1)
    lowest = ascending[torch.cat([one, apart])]
    highest = ascending[torch.cat([apart, one])]
    if (highest - lowest).max() > 2 * ROUNDING:
        return column[:0]
    return (lowest + highest) / 2
