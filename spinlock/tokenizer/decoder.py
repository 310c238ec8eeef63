"""The joint decoder: each category's own linear decoding, corrected by all categories' codes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spinlock.tokenizer.layout import CategoryLayout, CategoryLinear


class JointDecoder(nn.Module):
    """Decode code sums [C, B, E] of any prefix of the levels to columns [B, D].

    own  = scatter(q_c · D_c + d_c), a category's columns from its own codes;
    x̂_l = own + (own − mean_l) W_l + b_l, with one W per prefix 0..l, since what other
    categories tell about a column depends on how finely they are known;
    at the full depth plus a network of all codes that starts at zero.

    Parameters
    ----------
    layout : CategoryLayout
    dim : int
        E, width of an embedding.
    n_levels : int
    hidden_dim : int
        Width of the network's hidden layer.
    dropout : float
    """

    mean: Tensor

    def __init__(
        self, layout: CategoryLayout, dim: int, n_levels: int, hidden_dim: int, dropout: float
    ):
        super().__init__()
        n_columns = layout.n_columns
        self.layout = layout
        self.own = CategoryLinear(layout.n_categories, dim, layout.width, zero=True)
        self.cross = nn.ParameterList(torch.zeros(n_columns, n_columns) for _ in range(n_levels))
        self.offset = nn.ParameterList(torch.zeros(n_columns) for _ in range(n_levels))
        self.register_buffer("mean", torch.zeros(n_levels, n_columns))
        last = nn.Linear(hidden_dim, n_columns)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(layout.n_categories * dim, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            last,
        )

    def decode_own(self, codes: Tensor) -> Tensor:
        """Return columns [B, D], each from the codes [C, B, E] of its own category."""
        return self.layout.scatter(self.own(codes))

    def forward(self, codes: Tensor, level: int) -> Tensor:
        """Return columns [B, D] of the code sums [C, B, E] of levels 0..level."""
        own = self.decode_own(codes)
        decoded = own + torch.addmm(self.offset[level], own - self.mean[level], self.cross[level])
        if level == len(self.cross) - 1:
            decoded = decoded + self.network(codes.transpose(0, 1).flatten(1))
        return decoded


def ridge_correction(
    own: Tensor,
    x: Tensor,
    own_held_out: Tensor,
    x_held_out: Tensor,
    strengths: Sequence[float] = (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0),
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit x ≈ own + (own − mean) W + b by ridge regression that shrinks W to zero.

    The strength, relative to the mean variance of `own`, is the one with the lowest held-out
    error; leaving W out is among the choices, so the fit is never worse there than `own`.

    Returns
    -------
    W : Tensor [D, D]
    b : Tensor [D]
    mean : Tensor [D]
    """
    mean = own.mean(dim=0)
    centred = (own - mean).double()
    target = (x - own).double()
    b = target.mean(dim=0)
    gram = centred.T @ centred
    moment = centred.T @ (target - b)
    unit = gram.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    rotated = vectors.T @ moment
    held_out = (own_held_out - mean).double() @ vectors
    rest = (x_held_out - own_held_out).double()
    best = torch.zeros_like(moment), torch.zeros_like(b)
    lowest = rest.square().sum()
    for strength in strengths:
        shrunk = rotated / (eigenvalues.clamp_min(0) + strength * unit).unsqueeze(1)
        error = (rest - held_out @ shrunk - b).square().sum()
        if error < lowest:
            lowest, best = error, (vectors @ shrunk, b)
    return best[0].float(), best[1].float(), mean
