"""Ridge regression of rows on how each category decodes its own columns."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spinlock.tokenizer.network.rows import ROW_BLOCK

STRENGTHS = (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)  # in units of the mean variance

Correction = tuple[Tensor, Tensor, Tensor]


class Moments:
    """What ridge regression needs of rows: weighted sums in float64, added block by block.

    Of F = own − origin [n, D], what the categories decode, and r = x − own [n, D], what they miss.

    Parameters
    ----------
    origin : Tensor [D]
        Near the mean of `own`, so that nothing cancels.

    Attributes
    ----------
    weight : float
        Σ w
    own, missed : Tensor [D]
        Σ w F, Σ w r
    gram, moment : Tensor [D, D]
        Σ w Fᵀ F, Σ w Fᵀ r
    """

    def __init__(self, origin: Tensor):
        self.origin = origin
        n_columns = len(origin)
        self.weight = 0.0
        self.own = torch.zeros(n_columns, dtype=torch.float64, device=origin.device)
        self.missed = torch.zeros_like(self.own)
        self.gram = self.own.new_zeros(n_columns, n_columns)
        self.moment = torch.zeros_like(self.gram)

    def add(self, own: Tensor, x: Tensor, weight: float = 1.0) -> None:
        """Add rows own, x [n, D], each with the same weight."""
        for part, target in zip(own.split(ROW_BLOCK), x.split(ROW_BLOCK), strict=True):
            centred, missed = part.double() - self.origin, target.double() - part
            self.weight += weight * len(part)
            self.own += weight * centred.sum(dim=0)
            self.missed += weight * missed.sum(dim=0)
            self.gram.addmm_(centred.T, centred, alpha=weight)
            self.moment.addmm_(centred.T, missed, alpha=weight)

    def means(self) -> tuple[Tensor, Tensor]:
        """Return the weighted means of own [D] and of what is missed [D]."""
        return self.origin + self.own / self.weight, self.missed / self.weight

    def about(self, mean: Tensor, missed: Tensor) -> tuple[Tensor, Tensor]:
        """Return Σ w Fᵀ F and Σ w Fᵀ (r − missed) of F = own − mean."""
        shift = mean - self.origin
        ends = torch.outer(shift, self.own)
        gram = self.gram - ends - ends.T + self.weight * torch.outer(shift, shift)
        rest = self.missed - self.weight * missed
        return gram, self.moment - torch.outer(self.own, missed) - torch.outer(shift, rest)


def ridge_correction(
    fits: Sequence[Moments],
    own_held_out: Tensor,
    x_held_out: Tensor,
    strengths: Sequence[float] = STRENGTHS,
) -> Correction:
    """Fit x ≈ own + (own − mean) W + b by ridge regression that shrinks W to zero.

    The rows fitted, one of `fits`, and the strength, relative to the mean variance of `own`, are
    those with the lowest held-out error; leaving W out is among the choices, so the fit is never
    worse there than `own`.

    Returns
    -------
    W : Tensor [D, D]
    b : Tensor [D]
    mean : Tensor [D]
    """
    origin = fits[0].origin
    held_out = Moments(origin)
    held_out.add(own_held_out, x_held_out)
    lowest = _error(own_held_out, x_held_out, torch.zeros_like(held_out.own))
    nothing = held_out.gram.new_zeros(held_out.gram.shape).float()
    best = nothing, torch.zeros_like(held_out.missed).float(), origin
    for fit in fits:
        mean, b = fit.means()
        eigenvalues, vectors, rotated = _spectrum(*fit.about(mean, b))
        unit = eigenvalues.mean()
        noise = torch.finfo(torch.float32).eps * mean.abs().max()
        if unit <= fit.weight * noise**2:  # codes that all decode alike tell nothing
            continue
        linear, quadratic = _error_terms(vectors, rotated, *held_out.about(mean, b))
        shifted = _error(own_held_out, x_held_out, b)
        chosen = None
        for strength in strengths:
            factors = 1 / (eigenvalues.clamp_min(0) + strength * unit)
            error = shifted + factors @ (quadratic @ factors - 2 * linear)
            if error < lowest:
                lowest, chosen = error, factors
        if chosen is not None:
            best = (vectors @ (rotated * chosen.unsqueeze(1))).float(), b.float(), mean.float()
    return best


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


def _error(own: Tensor, x: Tensor, shift: Tensor) -> Tensor:
    """Return ‖x − own − shift‖² in float64."""
    blocks = zip(own.split(ROW_BLOCK), x.split(ROW_BLOCK), strict=True)
    return torch.stack([((b - a).double() - shift).square().sum() for a, b in blocks]).sum()
