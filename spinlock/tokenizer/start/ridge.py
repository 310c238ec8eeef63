"""Ridge regression from moments, so that rows are read once, block by block."""

from collections.abc import Sequence
from copy import copy
from functools import partial

import torch
from torch import Tensor

STRENGTHS = (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)  # in units of the mean variance


class Moments:
    """What ridge regression needs of rows: weighted sums in float64, added block by block.

    Of features F [n, S] and targets r [n, D].

    Parameters
    ----------
    n_features, n_targets : int
        S and D.
    device : torch.device, optional

    Attributes
    ----------
    weight : float
        Σ w
    features, targets : Tensor [S], [D]
        Σ w F, Σ w r
    gram, moment : Tensor [S, S], [S, D]
        Σ w Fᵀ F, Σ w Fᵀ r
    squares : Tensor []
        Σ w ‖r‖²
    """

    def __init__(self, n_features: int, n_targets: int, device: torch.device | None = None):
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self.weight = 0.0
        self.features, self.targets = zeros(n_features), zeros(n_targets)
        self.gram, self.moment = zeros(n_features, n_features), zeros(n_features, n_targets)
        self.squares = zeros(())

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add rows [n, S], [n, D], each with a weight of one."""
        features, targets = features.double(), targets.double()
        self.weight += len(features)
        self.features += features.sum(dim=0)
        self.targets += targets.sum(dim=0)
        self.gram.addmm_(features.T, features)
        self.moment.addmm_(features.T, targets)
        self.squares += targets.square().sum()

    def scaled(self, factor: float) -> "Moments":
        """Return the moments of the same rows, with weights that are so many times as large."""
        scaled = copy(self)
        for name, sums in vars(self).items():
            setattr(scaled, name, sums * factor)
        return scaled

    def along(self, basis: Tensor) -> "Moments":
        """Return the moments of the same rows with features F basis [n, S]."""
        turned = copy(self)
        turned.features = self.features @ basis
        turned.gram, turned.moment = basis.T @ self.gram @ basis, basis.T @ self.moment
        return turned

    def means(self) -> tuple[Tensor, Tensor]:
        """Return the weighted means of features [S] and targets [D]."""
        return self.features / self.weight, self.targets / self.weight

    def about(self, mean: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Return Σ w Gᵀ G and Σ w Gᵀ (r − offset) of G = F − mean."""
        ends = torch.outer(mean, self.features)
        gram = self.gram - ends - ends.T + self.weight * torch.outer(mean, mean)
        rest = self.targets - self.weight * offset
        return gram, self.moment - torch.outer(self.features, offset) - torch.outer(mean, rest)

    def error(self, offset: Tensor | float = 0.0) -> Tensor:
        """Return Σ w ‖r − offset‖²."""
        return self.squares + (offset * (self.weight * offset - 2 * self.targets)).sum()


def ridge_regression(
    fits: Sequence[Moments], held_out: Moments, strengths: Sequence[float] = STRENGTHS
) -> tuple[Tensor, Tensor]:
    """Fit r ≈ F W + b by ridge regression that shrinks W to zero.

    The rows fitted, one of `fits`, and the strength, relative to the mean variance of the
    features, are those with the lowest held-out error; nothing at all, W = 0 and b = 0, is among
    the choices, so the fit is never worse there.

    Returns
    -------
    W : Tensor [S, D]
    b : Tensor [D]
    """
    lowest = held_out.error()
    best = torch.zeros_like(held_out.moment), torch.zeros_like(held_out.targets)
    for fit in fits:
        mean, offset = fit.means()
        eigenvalues, vectors, rotated = _spectrum(*fit.about(mean, offset))
        unit = eigenvalues.mean()
        noise = torch.finfo(torch.float32).eps * mean.abs().max()
        if unit <= fit.weight * noise**2:  # features that are all alike tell nothing
            continue
        linear, quadratic = _error_terms(vectors, rotated, *held_out.about(mean, offset))
        shifted = held_out.error(offset)
        chosen = None
        for strength in strengths:
            factors = 1 / (eigenvalues.clamp_min(0) + strength * unit)
            error = shifted + factors @ (quadratic @ factors - 2 * linear)
            if error < lowest:
                lowest, chosen = error, factors
        if chosen is not None:
            weights = vectors @ (rotated * chosen.unsqueeze(1))
            best = weights, offset - mean @ weights
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
