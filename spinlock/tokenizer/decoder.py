"""The joint decoder: each category's own linear decoding, corrected by all categories' codes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spinlock.tokenizer.layout import CategoryLayout, CategoryLinear, Dropout, EmbeddingDims
from spinlock.tokenizer.rows import ROW_BLOCK


class JointDecoder(nn.Module):
    """Decode code sums [C, B, E] of any prefix of the levels to columns [B, D].

    own  = scatter(q_c · D_c + d_c), a category's columns from its own codes;
    x̂_l = own + (own − mean_l) W_l + b_l, with one W per prefix 0..l, since what other
    categories tell about a column depends on how finely they are known;
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

    mean: Tensor

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
        self.cross = nn.ParameterList(torch.zeros(n_columns, n_columns) for _ in range(n_levels))
        self.offset = nn.ParameterList(torch.zeros(n_columns) for _ in range(n_levels))
        self.register_buffer("mean", torch.zeros(n_levels, n_columns))
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

    @torch.no_grad()
    def set_correction(self, level: int, cross: Tensor, offset: Tensor, mean: Tensor) -> None:
        """Set W [D, D], b [D] and mean [D] of the prefix 0..level."""
        self.cross[level].copy_(cross)
        self.offset[level].copy_(offset)
        self.mean[level].copy_(mean)

    def forward(self, codes: Tensor, level: int) -> Tensor:
        """Return columns [B, D] of the code sums [C, B, E] of levels 0..level."""
        own, cross = self.decode_own(codes), self.cross[level]
        decoded = torch.addmm(own, own, cross) + (self.offset[level] - self.mean[level] @ cross)
        if level == len(self.cross) - 1:
            decoded = decoded + self.decode_network(codes)
        return decoded

    def decode_network(self, codes: Tensor) -> Tensor:
        """Return what the network adds [B, D] at the full depth."""
        return self.network(self.dims.compact(codes))


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
    b = (x.mean(dim=0) - mean).double()
    eigenvalues, vectors, rotated = _spectrum(*_moments(own, x, mean, b))
    unit = eigenvalues.mean().clamp_min(torch.finfo(torch.float64).tiny)
    held_out = own_held_out, x_held_out, mean, b
    linear, quadratic = _error_terms(vectors, rotated, *_moments(*held_out))
    plain, shifted = (_error(own_held_out, x_held_out, by) for by in (torch.zeros_like(b), b))
    chosen, lowest = None, plain
    for strength in strengths:
        factors = 1 / (eigenvalues.clamp_min(0) + strength * unit)
        error = shifted + factors @ (quadratic @ factors - 2 * linear)
        if error < lowest:
            lowest, chosen = error, factors
    if chosen is None:
        return torch.zeros_like(rotated).float(), torch.zeros_like(b).float(), mean
    return (vectors @ (rotated * chosen.unsqueeze(1))).float(), b.float(), mean


def _spectrum(gram: Tensor, moment: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the eigenvalues and vectors of FᵀF, and Fᵀr along the vectors."""
    eigenvalues, vectors = torch.linalg.eigh(gram)
    return eigenvalues, vectors, vectors.T @ moment


def _error_terms(
    vectors: Tensor, rotated: Tensor, gram: Tensor, moment: Tensor
) -> tuple[Tensor, Tensor]:
    """Return how the error of rows depends on what each eigenvector's part is shrunk by.

    ‖r − F S‖² = ‖r‖² − 2 ⟨S, Fᵀ r⟩ + ⟨S, Fᵀ F S⟩: rows are needed once, for their moments, and
    as S is `rotated` with its rows shrunk by factors f, the last two are linear and quadratic
    in f.
    """
    linear = (rotated * (vectors.T @ moment)).sum(dim=1)
    quadratic = vectors.T @ gram @ vectors
    return linear, quadratic.mul_(rotated @ rotated.T)


def _moments(own: Tensor, x: Tensor, mean: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return FᵀF and Fᵀ(x − own − b) of F = own − mean, in float64 block by block of rows."""
    n_columns = own.shape[1]
    gram = torch.zeros(n_columns, n_columns, dtype=torch.float64, device=own.device)
    moment = torch.zeros_like(gram)
    for part, target in zip(own.split(ROW_BLOCK), x.split(ROW_BLOCK), strict=True):
        centred = (part - mean).double()
        gram.addmm_(centred.T, centred)
        moment.addmm_(centred.T, (target - part).double() - b)
    return gram, moment


def _error(own: Tensor, x: Tensor, shift: Tensor) -> Tensor:
    """Return ‖x − own − shift‖² in float64."""
    blocks = zip(own.split(ROW_BLOCK), x.split(ROW_BLOCK), strict=True)
    return torch.stack([((b - a).double() - shift).square().sum() for a, b in blocks]).sum()
