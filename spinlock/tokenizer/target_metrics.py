"""The four metrics that have targets, each with one definition (docs/metrics.md)."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import pdist

from spinlock.tokenizer.categories.centroids import centroid_cosines

RATIO_LIMIT = 1e-300
ROW_BLOCK = 4096  # rows that are float64 at a time


def quality(x: np.ndarray, decoded: np.ndarray, train_mean: np.ndarray) -> float | None:
    """Return R², 1 − Σ‖x − x̂‖² / Σ‖x − μ‖², pooled over features; None when nothing varies.

    Parameters
    ----------
    x, decoded : arrays [n, D]
        Normalised rows and what their tokens decode to.
    train_mean : array [D]
    """
    error, total = squared_errors(x, decoded, train_mean)
    return explained_share(error.sum(), total.sum())


def squared_errors(
    x: np.ndarray, decoded: np.ndarray, train_mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return Σ(x − x̂)² and Σ(x − μ)² of each column, in float64."""
    error, total = np.zeros((2, x.shape[1]))
    for start in range(0, len(x), ROW_BLOCK):
        block = x[start : start + ROW_BLOCK].astype(np.float64)
        error += ((block - decoded[start : start + ROW_BLOCK]) ** 2).sum(axis=0)
        total += ((block - train_mean) ** 2).sum(axis=0)
    return error, total


def explained_share(error: float, total: float) -> float | None:
    """Return 1 − error / total; None when nothing varies."""
    return float(1 - error / total) if total > RATIO_LIMIT else None


def code_counts(tokens: np.ndarray, sizes: np.ndarray) -> list[list[np.ndarray]]:
    """Return how often each code of each book is used in tokens [n, C, L]."""
    return [
        [np.bincount(tokens[:, c, level], minlength=size) for level, size in enumerate(row)]
        for c, row in enumerate(sizes)
    ]


def utilization(counts: Sequence[Sequence[np.ndarray]]) -> float | None:
    """Return the mean over books of the share of codes that are used at least once.

    A book of a single code tells nothing, and does not count; without others there is none.
    """
    shares = [(book > 0).mean() for books in counts for book in books if len(book) > 1]
    return float(np.mean(shares)) if shares else None


def orthogonality(x: np.ndarray, partition: Sequence[np.ndarray]) -> dict[str, float | None]:
    """Return mean and maximum |cosine| between category centroids on rows x [n, D].

    A category of which nothing varies in these rows has no centroid; None of fewer than two.
    """
    varying = [members for members in partition if np.ptp(x[:, members], axis=0).any()]
    cosines = centroid_cosines(x, varying)
    if not len(cosines):
        return {"mean": None, "maximum": None}
    return {"mean": float(cosines.mean()), "maximum": float(cosines.max())}


def topographic(x: np.ndarray, codes: np.ndarray) -> float | None:
    """Return the Pearson correlation of input and code distances over pairs i < j.

    Parameters
    ----------
    x : array [n, D]
    codes : array [n, E]
        All categories' decoded embeddings side by side.
    """
    if len(x) < 3:
        return None
    inputs, latent = pdist(x.astype(np.float64)), pdist(codes.astype(np.float64))
    if min(inputs.std(), latent.std()) == 0:
        return None
    return float(np.corrcoef(inputs, latent)[0, 1])
