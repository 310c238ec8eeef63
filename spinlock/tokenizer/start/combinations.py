"""All combinations of the values that columns take, where a book can hold them."""

import torch
from torch import Tensor

STEP = 1e-4  # values that are closer than this are one, so that rounding makes no others


def all_combinations(x: Tensor, most: int) -> Tensor | None:
    """Return every combination of the values of the columns of rows x [n, d], seen or not.

    Rows of few values show few of their combinations. A book that holds all of them tells an
    unseen row as well as a seen one.

    Returns
    -------
    Tensor [most, d] or None
        Combinations repeat where there are fewer than `most`. None where there are more.
    """
    values, number = [], 1
    for column in x.T:
        values.append(torch.unique((column / STEP).round()) * STEP)
        number *= len(values[-1])
        if number > most:
            return None
    combined = torch.cartesian_prod(*values).reshape(number, x.shape[1])
    return combined[torch.arange(most, device=x.device) % number]
