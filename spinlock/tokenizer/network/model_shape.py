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

    @property
    def width(self) -> int:
        """E: no category's embedding needs more dimensions than it has columns."""
        return min(self.embedding_dim, max(len(members) for members in self.partition))
