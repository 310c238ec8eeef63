"""Principal components of the columns of a category."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spinlock.tokenizer.model import ROW_BLOCK


@dataclass(frozen=True)
class PrincipalAxes:
    """A category's principal components: mean [d] and orthonormal axes [E_c, d]."""

    mean: Tensor
    axes: Tensor

    @classmethod
    def fit(
        cls, x: Tensor, limit: int, members: Sequence[int] | slice = slice(None)
    ) -> "PrincipalAxes":
        """Fit to columns of rows x [n, D], d of them, keeping at most `limit` axes."""
        total = [block[:, members].sum(dim=0, dtype=torch.float64) for block in x.split(ROW_BLOCK)]
        mean = (torch.stack(total).sum(dim=0) / len(x)).to(x.dtype)
        gram = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=x.device)
        for block in x.split(ROW_BLOCK):
            centred = (block[:, members] - mean).double()
            gram.addmm_(centred.T, centred)
        values, vectors = torch.linalg.eigh(gram)
        order = values.argsort(descending=True)[:limit]
        axes = vectors[:, order].T
        # the sign of an eigenvector is arbitrary: fix it, so that equal data give equal models
        largest = axes.abs().argmax(dim=1, keepdim=True)
        return cls(mean, (axes * axes.gather(1, largest).sign()).float())

    def project(self, x: Tensor) -> Tensor:
        """Return the coordinates [n, E_c] of rows x [n, d]."""
        return (x - self.mean) @ self.axes.T


def principal_axes(
    x: Tensor, partition: Sequence[Sequence[int]], limit: int
) -> list[PrincipalAxes]:
    """Return the principal axes of each category of columns of rows x [n, D]."""
    return [PrincipalAxes.fit(x, limit, list(members)) for members in partition]
