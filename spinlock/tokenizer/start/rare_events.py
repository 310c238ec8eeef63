"""Rows beside the train rows, for events that those show too seldom or not at all.

Columns may hardly vary but for rare events. After normalisation the few events of such a column
weigh as much as all rows of another. With so few of them the rows do not tell which come together:
books that learn the combinations by heart fail on the next one, books that also see the events
apart can add them up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spinlock.tokenizer.start.category_axes import CategoryAxes

FEW_COLUMNS = 3
AT_CAP = 1e-3  # deviations
COLUMN_BLOCK = 32
RARE = 25.0  # kurtosis, which one row in 27 with all the variance has


@dataclass(frozen=True)
class SeldomEvents:
    """What train rows show of their columns too seldom, or not at all.

    Attributes
    ----------
    rare : bool Tensor [D]
        Columns that hardly vary but for rare events.
    unreached : Tensor [2, D]
        Lowest and highest values that cleaning lets through, where no row has them; else NaN.
    mean : Tensor [D]
    """

    rare: Tensor
    unreached: Tensor
    mean: Tensor

    @classmethod
    def of(cls, x: Tensor, caps: Tensor | None = None) -> "SeldomEvents":
        """Look at train rows x [n, D], and at the caps of cleaning [2, D], infinite for none."""
        reached = torch.stack([x.amin(dim=0), x.amax(dim=0)])
        caps = torch.full_like(reached, torch.inf) if caps is None else caps.to(reached)
        beyond = caps.isfinite() & ((caps - reached).abs() > AT_CAP)
        return cls(rare_columns(x), caps.where(beyond, torch.nan), x.mean(dim=0))

    def directions(self, members: Sequence[int], axes: CategoryAxes) -> Tensor:
        """Return the directions [R, 2, E] of a category's columns that have rare events."""
        return rare_directions(self.rare[list(members)], axes)

    def outliers(self, members: Sequence[int], axes: CategoryAxes) -> Tensor:
        """Return the embeddings [m, E] of outliers in a category's columns that no row has."""
        return axes.project(self.rows_at_caps(members))

    def rows_at_caps(self, members: Sequence[int]) -> Tensor:
        """Return rows [m, d] of outliers that d columns do not hold: one column at a cap.

        Cleaning puts an outlier at the cap of its column, far from all else, and where train rows
        have none there, no code is near. The rows are the mean but for one column, at a cap that
        no row reaches. Many columns would take too many codes for what hardly ever comes: of more
        than `FEW_COLUMNS` there are none. Nor of columns with rare events, whose caps are very far
        out, on the side without events too.
        """
        if len(members) > FEW_COLUMNS:
            return self.mean.new_empty(0, len(members))
        columns = list(members)
        mean, caps = self.mean[columns], self.unreached[:, columns]
        wanted = ~caps.isnan() & ~self.rare[columns]
        rows = mean + torch.diag_embed(caps.nan_to_num() - mean)  # [2, d, d]: of a side and column
        return rows[wanted]


def rare_columns(x: Tensor) -> Tensor:
    """Return which columns [d] of rows x [n, d] hardly vary but for rare events."""
    # put in place: small results kept would each hold the memory of a block behind them
    kurtosis = x.new_empty(x.shape[1])
    blocks = x.split(COLUMN_BLOCK, dim=1), kurtosis.split(COLUMN_BLOCK)
    for part, place in zip(*blocks, strict=True):
        place.copy_(_kurtosis(part))
    return kurtosis > RARE


def rare_directions(rare: Tensor, axes: CategoryAxes) -> Tensor:
    """Return what the columns with rare events, `rare` [d] of a category's, are in its embedding.

    Returns
    -------
    Tensor [R, 2, E]
        Of each: the direction that reads the column from an embedding, and the one in which
        the column moves it.
    """
    return torch.stack([axes.synthesis.T[rare], axes.analysis[rare]], dim=1)


def with_recombined(
    z: Tensor, directions: Tensor, generator: torch.Generator, events_of: Tensor | None = None
) -> Tensor:
    """Return embeddings z [n, E] and, below them, the same with rare events dealt out anew.

    The values of each column of `directions` [R, 2, E] go to the rows in an order of their own;
    what does not depend on these columns stays. Without directions, z is returned as it is.

    Parameters
    ----------
    events_of : Tensor [m, E], optional
        Rows whose events are dealt, each at least once, to z repeated as often as that takes: a
        few rows hardly have any of their own. By default those of z.
    """
    if not len(directions):
        return z
    source = z if events_of is None else events_of
    z = z.repeat(-(-len(source) // max(len(z), 1)), 1)
    recombined = z.clone()
    for reads, moves in directions:
        order = torch.randperm(len(z), generator=generator).to(z.device) % len(source)
        recombined += torch.outer((source @ reads)[order] - z @ reads, moves)
    return torch.cat([z, recombined])


def _kurtosis(x: Tensor) -> Tensor:
    """Return the kurtosis [d] of columns x [n, d]; zero without spread."""
    deviation = x - x.mean(dim=0)
    squares = deviation.square().mean(dim=0).clamp_min(torch.finfo(x.dtype).tiny)
    return deviation.div_(squares.sqrt()).pow_(4).mean(dim=0)
