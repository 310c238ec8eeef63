"""Books fitted to rows by k-means, one residual level after another."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.network.codebook import Beam, code_norms, code_scores, lowest

SCORES = 2**21  # of rows and centres at once: what a cache holds, and memory is spared
ENCODINGS = 2**13  # rows whose encodings are extended at once


def kmeans(
    x: Tensor,
    k: int,
    generator: torch.Generator,
    iterations: int = 20,
    *,
    spread: bool = True,
) -> Tensor:
    """Return k centres [k, E] of rows x [n, E] by Lloyd's algorithm.

    It starts from k-means++, or from random rows unless `spread`: a little worse and several
    times faster. An empty cluster moves to the row that is farthest from its centre. With
    fewer distinct rows than centres, some centres coincide.
    """
    centres = _spread_rows(x, k, generator) if spread else _random_rows(x, k, generator)
    for _ in range(iterations):
        nearest, score = _nearest(x, centres)
        updated, counts = cluster_means(x, nearest, k)
        empty = (counts == 0).nonzero().flatten()
        if len(empty):
            distance = score + x.square().sum(-1)
            farthest = distance.topk(min(len(empty), len(x))).indices
            updated[empty[: len(farthest)]] = x[farthest]
            updated[empty[len(farthest) :]] = centres[empty[len(farthest) :]]
        if torch.equal(updated, centres):
            break
        centres = updated
    return centres


def _nearest(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest centre [n] of each row, and its ‖x − c‖² − ‖x‖² [n]."""
    norms = code_norms(centres)
    nearest = torch.empty(len(x), dtype=torch.long, device=x.device)
    score = x.new_empty(len(x))
    size = max(1, SCORES // len(centres))
    for rows, indices, lowest_scores in zip(
        x.split(size), nearest.split(size), score.split(size), strict=True
    ):
        scores = code_scores(rows, centres, norms)
        indices.copy_(lowest(scores))
        lowest_scores.copy_(scores.gather(1, indices.unsqueeze(1)).squeeze(1))
    return nearest, score


def cluster_means(x: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the mean [k, E] and number [k] of the rows x [n, E] of each label."""
    counts = torch.bincount(labels, minlength=k).to(x.dtype)
    sums = x.new_zeros(k, x.shape[1]).index_add_(0, labels, x)
    return sums / counts.clamp_min(1).unsqueeze(1), counts


def _random_rows(x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Draw k rows, none twice while there are enough."""
    order = torch.randperm(len(x), generator=generator).to(x.device)
    return x[order[torch.arange(k, device=x.device) % len(x)]]


def _spread_rows(x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Draw k rows, each with probability ∝ squared distance to those drawn (k-means++).

    Arthur & Vassilvitskii (2007).
    """
    # one row after another: numpy has little to do between them, and a GPU would wait
    draws = torch.rand(k, generator=generator, dtype=torch.float64).numpy()
    rows = x.detach().cpu().numpy()
    norms = np.square(rows).sum(axis=1)
    distance, chosen = np.ones_like(norms), np.empty(k, np.int64)
    for i, draw in enumerate(draws):
        cumulative = distance.cumsum(dtype=np.float64)
        row = min(int(cumulative.searchsorted(draw * cumulative[-1])), len(rows) - 1)
        to_new = norms - 2 * (rows @ rows[row]) + norms[row]
        distance = to_new.clip(0) if i == 0 else np.minimum(distance, to_new.clip(0))
        chosen[i] = row
    return x[torch.from_numpy(chosen).to(x.device)]


def residual_books(
    z: Tensor,
    sizes: Sequence[int],
    generator: torch.Generator,
    *,
    beam: int = 4,
    iterations: int = 20,
) -> list[Tensor]:
    """Fit residual books of the given sizes to rows z [n, E] by k-means.

    Each level is fitted on the residuals of all encodings that a beam keeps, so that it
    serves the encoder that will be used (as in Liu et al., "Improved residual vector
    quantization", 2015).
    """
    partial = [Beam(rows, beam) for rows in z.split(max(1, ENCODINGS // beam))]
    books: list[Tensor] = []
    for size in sizes:
        if books:
            for one in partial:
                one.extend(books[-1])
        residuals = torch.cat([one.residual.flatten(0, 1) for one in partial])
        books.append(kmeans(residuals, size, generator, iterations))
    return books
