"""Ridge regression of rows on how each category decodes its own columns."""

from collections.abc import Sequence

import torch
from torch import Tensor

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
    squares : Tensor []
        Σ w ‖r‖²
    """

    def __init__(self, origin: Tensor):
        self.origin = origin
        n_columns = len(origin)
        self.weight = 0.0
        self.own = torch.zeros(n_columns, dtype=torch.float64, device=origin.device)
        self.missed = torch.zeros_like(self.own)
        self.gram = self.own.new_zeros(n_columns, n_columns)
        self.moment = torch.zeros_like(self.gram)
        self.squares = self.own.new_zeros(())

    def add(self, own: Tensor, x: Tensor) -> None:
        """Add rows own, x [n, D], each with a weight of one."""
        centred, missed = own.double() - self.origin, x.double() - own
        self.weight += len(own)
        self.own += centred.sum(dim=0)
        self.missed += missed.sum(dim=0)
        self.gram.addmm_(centred.T, centred)
        self.moment.addmm_(centred.T, missed)
        self.squares += missed.square_().sum()

    def scaled(self, factor: float) -> "Moments":
        """Return the moments of the same rows, with weights that are so many times as large."""
        scaled = Moments(self.origin)
        for name in ("weight", "own", "missed", "gram", "moment", "squares"):
            setattr(scaled, name, getattr(self, name) * factor)
        return scaled

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

    def error(self, shift: Tensor | float = 0.0) -> Tensor:
        """Return Σ w ‖r − shift‖²."""
        return self.squares + (shift * (self.weight * shift - 2 * self.missed)).sum()


def ridge_correction(
    fits: Sequence[Moments], held_out: Moments, strengths: Sequence[float] = STRENGTHS
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
    lowest = held_out.error()
    nothing = torch.zeros_like(held_out.gram, dtype=torch.float32)
    best = nothing, nothing.new_zeros(len(nothing)), held_out.origin
    for fit in fits:
        mean, b = fit.means()
        eigenvalues, vectors, rotated = _spectrum(*fit.about(mean, b))
        unit = eigenvalues.mean()
        noise = torch.finfo(torch.float32).eps * mean.abs().max()
        if unit <= fit.weight * noise**2:  # codes that all decode alike tell nothing
            continue
        linear, quadratic = _error_terms(vectors, rotated, *held_out.about(mean, b))
        shifted = held_out.error(b)
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
