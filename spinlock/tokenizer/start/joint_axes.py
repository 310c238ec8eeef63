"""Embeddings of all categories fitted together, so that none says what others say already.

Principal components tell a category's own columns best. Where categories share factors, each then
spends its bits on the same ones. Here a direction weighs what its error costs all columns, decoded
from all categories: the distributed Karhunen–Loève transform (Gastpar, Dragotti & Vetterli, 2006,
IEEE Trans. Inf. Theory 52(12)), for Gaussian columns and few bits.
"""

from collections.abc import Sequence

import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

from spinlock.tokenizer.start.category_axes import CategoryAxes, column_signs

MOST_ROWS = 5000  # that covariances are measured on
COOLING = 0.85  # factor of the error that a direction may have, from sweep to sweep
SLOWER = (0.97, 0.99)
SLOW_COLUMNS = 600  # at most, of which this takes less than a minute
WORTH = 0.98  # of the error that is expected, where slower cooling is preferred
LEAST_LEVEL = 1e-7  # in units of the first: a hundred sweeps of COOLING
NEARLY = 0.99  # of what all categories hold
LEAST_VARIANCE = 1e-3  # of a direction, in units of the largest of its category
LEAST_WEIGHT = 1e-6  # in units of the largest of its category
TINY = 1e-12


def joint_axes(
    x: Tensor,
    partition: Sequence[Sequence[int]],
    limit: int,
    bits: float,
    most_bits: Sequence[float],
) -> list[CategoryAxes]:
    """Fit the embeddings of all categories to rows x [n, D].

    Starting from no bits at all, the error that any direction may have is lowered in sweeps over
    the categories, until together they take the bits: each category finds what the others, as they
    are, leave to say. In large steps several begin to say the same; in small ones the first leaves
    little of it to the others. Small steps are kept only where they promise a clearly lower error:
    rows that are not Gaussian gain more than is promised by what several say.

    Parameters
    ----------
    x : Tensor [n, D]
        Normalised train rows.
    partition : sequence [C] of column indices
    limit : int
        Most dimensions of an embedding.
    bits : float
        Budget per row; less where the categories hold less.
    most_bits : sequence [C] of float
        What each category's books can hold.
    """
    rows = x[:: -(-len(x) // MOST_ROWS)].double()
    mean = rows.mean(dim=0)
    covariance = _covariance(rows - mean)
    enough = min(bits, NEARLY * sum(most_bits))
    channels, error = _cooled(covariance, partition, most_bits, enough, COOLING)
    for cooling in SLOWER if len(covariance) <= SLOW_COLUMNS else ():
        slower, less = _cooled(covariance, partition, most_bits, enough, cooling)
        if not less < WORTH * error:
            break
        channels, error = slower, less
    return [one.axes(mean, covariance, limit) for one in channels]


def _cooled(
    covariance: Tensor,
    partition: Sequence[Sequence[int]],
    most_bits: Sequence[float],
    bits: float,
    cooling: float,
) -> tuple[list["Channel"], float]:
    """Return what categories say once they take the bits, and the squared error expected of it."""
    channels = [
        Channel(covariance, torch.as_tensor(list(members), device=covariance.device), most)
        for members, most in zip(partition, most_bits, strict=True)
    ]
    posterior = covariance
    level = first = max(one.largest_weight(posterior) for one in channels)
    while level > LEAST_LEVEL * first:
        level *= cooling
        for one in channels:
            posterior = one.updated(posterior, level)
        if sum(one.bits for one in channels) >= bits:
            break
    return channels, float(posterior.trace())


def _covariance(rows: Tensor) -> Tensor:
    """Return the covariance [D, D] of centred rows, shrunk as Ledoit & Wolf (2004) do."""
    n_rows, n_columns = rows.shape
    shrinkage = float(ledoit_wolf_shrinkage(rows.cpu().numpy(), assume_centered=True))
    covariance = (1 - shrinkage) * (rows.T @ rows) / n_rows
    variance = rows.square().sum() / (n_rows * n_columns)
    covariance.diagonal().add_(shrinkage * variance + TINY)
    return covariance


class Channel:
    """What one category says: its whitened columns w [k], with Gaussian noise.

    Attributes
    ----------
    columns : Tensor [d]
    whitening : Tensor [d, k]
        w = (x − mean) whitening has covariance 1.
    information : Tensor [k, k]
        Inverse covariance of the noise: the error of w, told alone, is (1 + information)⁻¹.
    weights, directions : Tensor [k], [k, k]
        What errors of w along orthonormal directions cost all columns together; ascending.
    bits : float
    """

    def __init__(self, covariance: Tensor, columns: Tensor, most_bits: float):
        self.columns, self.most_bits = columns, most_bits
        variances, axes = torch.linalg.eigh(covariance[columns][:, columns])
        exist = variances > LEAST_VARIANCE * variances[-1]
        self.whitening = axes[:, exist] / variances[exist].sqrt()
        self.one = torch.eye(int(exist.sum()), dtype=axes.dtype, device=axes.device)
        self.information = torch.zeros_like(self.one)
        self.weights, self.directions = torch.ones_like(self.one[0]), self.one
        self.bits = 0.0

    def largest_weight(self, posterior: Tensor) -> float:
        """Return the largest weight of a direction while nothing is said."""
        return float(torch.linalg.matrix_norm(posterior[:, self.columns] @ self.whitening, 2)) ** 2

    def updated(self, posterior: Tensor, level: float) -> Tensor:
        """Say each direction up to an error that costs `level`; return the new posterior.

        `posterior` [D, D] is the covariance of all columns given what all categories say.
        """
        one, before = self.one, self.information
        toward = posterior[:, self.columns] @ self.whitening
        own = self.whitening.T @ toward[self.columns]
        # what the others leave: the posterior without what this one said
        left = torch.linalg.solve(one - before @ own, toward, left=False)
        own = self.whitening.T @ left[self.columns]
        error = torch.linalg.inv(one + before)
        cost = torch.linalg.solve(error + (one - error) @ own, left, left=False)
        weights, self.directions = torch.linalg.eigh(cost.T @ cost)
        self.weights = weights.clamp_min(LEAST_WEIGHT * weights[-1])
        self._say(level)
        gained = torch.linalg.solve(one + self.information @ own, self.information @ left.T)
        posterior = posterior + left @ (before @ toward.T - gained)
        return (posterior + posterior.T) / 2

    def _say(self, level: float) -> None:
        """Set the information that leaves errors of cost `level`, within the most bits."""
        weights = self.weights.flip(0)
        # of the m heaviest directions alone, this level would take all the bits
        logarithms = weights.log2().cumsum(0) - 2 * self.most_bits
        least = (logarithms / torch.arange(1, len(weights) + 1, device=weights.device)).max().exp2()
        ratio = (self.weights / least.clamp_min(level)).clamp_min(1)
        self.information = (self.directions * (ratio - 1)) @ self.directions.T
        self.bits = float(ratio.log2().sum()) / 2

    def axes(self, mean: Tensor, covariance: Tensor, limit: int) -> CategoryAxes:
        """Return the embedding: the heaviest directions of w, as long as their weight says."""
        d = len(self.columns)
        weights = self.weights.flip(0)[:limit].sqrt()
        chosen = self.whitening @ self.directions.flip(1)[:, :limit]
        chosen = chosen * column_signs(chosen)
        analysis = chosen.new_zeros(d, min(limit, d))
        synthesis = chosen.new_zeros(min(limit, d), d)
        analysis[:, : len(weights)] = chosen * weights
        of_category = covariance[self.columns][:, self.columns]
        synthesis[: len(weights)] = (of_category @ chosen / weights).T
        return CategoryAxes(mean[self.columns].float(), analysis.float(), synthesis.float())
