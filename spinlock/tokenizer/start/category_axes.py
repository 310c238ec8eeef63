"""Linear maps between the columns of a category and its embedding; principal components."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spinlock.tokenizer.network.rows import ROW_BLOCK


@dataclass(frozen=True)
class CategoryAxes:
    """A category's embedding z = (x − mean) analysis, and its columns x ≈ mean + z synthesis.

    Attributes
    ----------
    mean : Tensor [d]
    analysis : Tensor [d, E_c]
    synthesis : Tensor [E_c, d]
    """

    mean: Tensor
    analysis: Tensor
    synthesis: Tensor

    @classmethod
    def principal(
        cls, x: Tensor, limit: int, members: Sequence[int] | slice = slice(None)
    ) -> "CategoryAxes":
        """Fit principal components to columns of rows x [n, D], keeping at most `limit`."""
        # added up at once: small sums kept would each hold the memory of a block behind them
        total = sum(
            block[:, members].sum(dim=0, dtype=torch.float64) for block in x.split(ROW_BLOCK)
        )
        mean = (total / len(x)).to(x.dtype)
        gram = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=x.device)
        for block in x.split(ROW_BLOCK):
            centred = (block[:, members] - mean).double()
            gram.addmm_(centred.T, centred)
        values, vectors = torch.linalg.eigh(gram)
        axes = vectors[:, values.argsort(descending=True)[:limit]]
        axes = (axes * column_signs(axes)).float()
        return cls(mean, axes, axes.T)

    def project(self, x: Tensor) -> Tensor:
        """Return the embeddings [n, E_c] of rows x [n, d]."""
        return (x - self.mean) @ self.analysis


def principal_axes(x: Tensor, partition: Sequence[Sequence[int]], limit: int) -> list[CategoryAxes]:
    """Return the principal axes of each category of columns of rows x [n, D]."""
    return [CategoryAxes.principal(x, limit, list(members)) for members in partition]


def column_signs(vectors: Tensor) -> Tensor:
    """Return the sign [E] of the largest entry of each column of vectors [d, E].

    The sign of an eigenvector is arbitrary: it is fixed, so that equal data give equal models.
    """
    largest = vectors.abs().argmax(dim=0, keepdim=True)
    return vectors.gather(0, largest)[0].sign()
