"""One category of columns, as it is known before books are fitted to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from spinlock.tokenizer.start.bit_budget import LEVELS
from spinlock.tokenizer.start.category_axes import CategoryAxes
from spinlock.tokenizer.start.column_parts import ROWS_SEEN, column_parts
from spinlock.tokenizer.start.rare_events import SeldomEvents

Levels = list[tuple[int | None, int | None]]  # of each: dimensions and codes, None where open


@dataclass(frozen=True)
class Category:
    """Columns that are encoded together, and what is asked of their books.

    Attributes
    ----------
    members : list [d] of int
        Positions of the columns.
    axes : CategoryAxes
    rare : Tensor [R, 2, E]
        Directions whose rare events books are measured on and fitted with in new combinations too.
    outliers : Tensor [m, E]
        Embeddings of outliers that no row has: rows beside the others, which take codes.
    dims : tuple [L] of int or None
        Dimensions that a level may use; None for all.
    sizes : tuple [L] of int or None
        Codes of books that are settled; None for those to choose.
    parts : list [L] of Tensor [r, E], or of none
        Columns that levels may tell one by one, as what they are in the embedding: orthonormal
        directions.
    """

    members: list[int]
    axes: CategoryAxes
    rare: Tensor
    outliers: Tensor
    dims: tuple[int | None, ...] = (None,) * LEVELS
    sizes: tuple[int | None, ...] = (None,) * LEVELS
    parts: Sequence[Tensor] = ()

    @classmethod
    def of(
        cls,
        members: Sequence[int],
        axes: CategoryAxes,
        events: SeldomEvents,
        levels: Levels | None = None,
    ) -> "Category":
        """Return the category of some columns, with levels as the settings give them."""
        dims, sizes = zip(*levels or [(None, None)] * LEVELS, strict=True)
        rare, outliers = events.directions(members, axes), events.outliers(members, axes)
        return cls(list(members), axes, rare, outliers, dims, sizes)

    @property
    def is_limited(self) -> bool:
        """Whether the settings say how many dimensions a level may use."""
        return any(dims is not None for dims in self.dims)

    def embed(self, x: Tensor) -> Tensor:
        """Return the embeddings [n, E] of rows x [n, D] of all columns."""
        return self.axes.project(x[:, self.members])

    def with_parts(self, x: Tensor) -> "Category":
        """Return the category with the parts that its columns have in rows x [n, D]."""
        seen = x[:: -(-len(x) // ROWS_SEEN)]
        return replace(self, parts=column_parts(seen[:, self.members], self.axes, len(self.sizes)))


def categories_of(
    partition: Sequence[Sequence[int]],
    axes: Sequence[CategoryAxes],
    events: SeldomEvents,
    levels: Sequence[Levels] | None = None,
) -> list[Category]:
    """Return the categories of a partition, with levels [C] as the settings give them."""
    each = zip(partition, axes, levels or [None] * len(axes), strict=True)
    return [Category.of(members, one, events, wanted) for members, one, wanted in each]
