"""The joint decoder: each category's own linear decoding, corrected by all categories' codes."""

import torch
from torch import Tensor, nn

from spinlock.tokenizer.network.layout import CategoryLayout, CategoryLinear, Dropout, EmbeddingDims


class JointDecoder(nn.Module):
    """Decode code sums [C, B, E] of any prefix of the levels to columns [B, D].

    own  = scatter(q_c · D_c + d_c), a category's columns from its own codes;
    x̂_l = own + q W_l + b_l, q the codes of all categories side by side, with one W per prefix
    0..l, since what other categories tell about a column depends on how finely they are known;
    at the full depth plus a network of all codes that starts at zero.

    Parameters
    ----------
    layout : CategoryLayout
    dims : EmbeddingDims
        Of the embeddings of width E.
    n_levels : int
    hidden_dim : int
        Width of the network's hidden layer.
    dropout : float
    """

    def __init__(
        self,
        layout: CategoryLayout,
        dims: EmbeddingDims,
        n_levels: int,
        hidden_dim: int,
        dropout: float,
    ):
        super().__init__()
        n_columns = layout.n_columns
        self.layout = layout
        self.dims = dims
        self.own = CategoryLinear(layout.n_categories, dims.width, layout.width, zero=True)
        self.cross = nn.ParameterList(torch.zeros(dims.total, n_columns) for _ in range(n_levels))
        self.offset = nn.ParameterList(torch.zeros(n_columns) for _ in range(n_levels))
        last = nn.Linear(hidden_dim, n_columns)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(dims.total, hidden_dim),
            nn.GELU(),
            Dropout(dropout),
            last,
        )

    def decode_own(self, codes: Tensor) -> Tensor:
        """Return columns [B, D], each from the codes [C, B, E] of its own category."""
        return self.layout.scatter(self.own(codes))

    def correction(self, level: int) -> tuple[Tensor, Tensor]:
        """Return copies of W [S, D] and b [D] of the prefix 0..level."""
        return self.cross[level].detach().clone(), self.offset[level].detach().clone()

    @torch.no_grad()
    def set_correction(self, level: int, cross: Tensor, offset: Tensor) -> None:
        """Set W [S, D] and b [D] of the prefix 0..level."""
        self.cross[level].copy_(cross)
        self.offset[level].copy_(offset)

    def forward(self, codes: Tensor, level: int) -> Tensor:
        """Return columns [B, D] of the code sums [C, B, E] of levels 0..level."""
        side_by_side = self.dims.compact(codes)
        decoded = self._corrected(codes, side_by_side, level)
        if level == len(self.cross) - 1:
            decoded = decoded + self.network(side_by_side)
        return decoded

    def decode_linear(self, codes: Tensor, level: int) -> Tensor:
        """Return columns [B, D], corrected, without the network."""
        return self._corrected(codes, self.dims.compact(codes), level)

    def _corrected(self, codes: Tensor, side_by_side: Tensor, level: int) -> Tensor:
        decoded = torch.addmm(self.decode_own(codes), side_by_side, self.cross[level])
        return decoded + self.offset[level]

    def decode_network(self, codes: Tensor) -> Tensor:
        """Return what the network adds [B, D] at the full depth."""
        return self.network(self.dims.compact(codes))
