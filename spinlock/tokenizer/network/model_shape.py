"""What a model looks like, in plain values."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """All that is needed to build a model, in plain values that a checkpoint can hold.

    Attributes
    ----------
    partition : list [C] of lists
        Kept columns of each category.
    book_sizes : list [C] of lists [L]
        Number of codes of each category and level; empty as long as they are open.
    column_family : list [D]
        Family of each kept column.
    encoders : dict
        Family → {"encoder": name, "encoder_params": {...}}.
    embedding_dim, hidden_dim : int
        Widths of a category's embedding (at most) and hidden layer.
    dropout, decay : float
    use_ema : bool
    beam_width : int
        Encodings that are followed when tokens are made.
    series : dict
        Family → {"steps", "channel" [D], "coefficient" [D]} for families of series.
    field_channels : int or None
        Channels of the initial fields, when the dataset has them.
    """

    partition: list[list[int]]
    book_sizes: list[list[int]]
    column_family: list[str]
    encoders: dict[str, dict[str, Any]]
    embedding_dim: int = 64
    hidden_dim: int = 128
    dropout: float = 0.1
    decay: float = 0.99
    use_ema: bool = True
    beam_width: int = 8
    series: dict[str, dict[str, Any]] = field(default_factory=dict)
    field_channels: int | None = None

    def require_consistent(self, n_columns: int) -> None:
        """Check that this can be the shape of a model of `n_columns` kept columns.

        Raises
        ------
        ValueError
            When it can not.
        """
        columns = [column for members in self.partition for column in members]
        sizes = [size for levels in self.book_sizes for size in levels]
        if not all(type(one) is int for one in [*columns, *sizes, self.beam_width]):
            raise ValueError("a column, a size of a book or the beam is no whole number")
        if not all(self.partition) or sorted(columns) != list(range(n_columns)):
            raise ValueError("the categories do not hold each column once")
        if len(self.column_family) != n_columns:
            raise ValueError(f"{len(self.column_family)} columns have a family, of {n_columns}")
        levels = {len(one) for one in self.book_sizes}
        if len(self.book_sizes) != len(self.partition) or len(levels) != 1:
            raise ValueError("the categories do not have the same number of books")
        if min([*sizes, self.beam_width]) < 1:
            raise ValueError("a book or the beam is empty")

    @property
    def width(self) -> int:
        """E: no category's embedding needs more dimensions than it has columns."""
        return min(self.embedding_dim, max(len(members) for members in self.partition))
