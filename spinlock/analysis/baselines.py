"""Quantisers of the same rows at the same bits, without categories, levels or training.

Every baseline gets at least as many bits as it is compared at; one that cannot spend them spends
the most that it can, and its own bits are told.
"""

import math
from dataclasses import dataclass

import faiss
import numpy as np
from sklearn.cluster import kmeans_plusplus

from spinlock.analysis.metrics import gaussian_reference
from spinlock.tokenizer.target_metrics import quality

REFERENCE = "gaussian_reference"  # among the baselines, but no method: nothing reaches it
METHOD_NAMES = {
    "faiss_pq4": "PQ 4-bit",
    "faiss_pq8": "PQ 8-bit",
    "faiss_rq4": "RQ 4-bit",
    "faiss_rq8": "RQ 8-bit",
    "pca_lloyd_max": "PCA + Lloyd–Max",
    REFERENCE: "Gaussian reference",
}
MOST_SCALAR_BITS = 10  # of one principal component
LLOYD_STEPS = 10_000  # at most; most scores are settled after some hundreds
LLOYD_SEED = 0
RESTARTS_SEED = 1234
BOOK_WIDTHS = (4, 8)  # bits of the books of faiss's quantisers
FITTING_COPIES = 34  # of its rows that a residual quantiser of faiss makes, as measured
ROW_BLOCK = 1024  # rows that faiss encodes at a time
FEWEST_ROWS = 1024  # that all methods are fitted to, whatever memory that takes
BEAM_WIDTH = 8  # encodings that faiss follows, as the tokenizer does, not the 5 of its default


@dataclass(frozen=True)
class Baseline:
    """What a method reaches: one row of baselines.csv."""

    method: str
    bits: float
    quality: float | None


def compare_baselines(
    train: np.ndarray, test: np.ndarray, budgets: list[float], beam: int = BEAM_WIDTH
) -> list[Baseline]:
    """Fit all methods on train rows [n, D] and measure them on test rows [m, D].

    Methods whose books have more codes than there are train rows are left out.

    Parameters
    ----------
    budgets : list of float
        Bits per row, ascending.
    beam : int
        Encodings that residual quantisers follow, as they are fitted and as they encode.
    """
    budgets = [bits for bits in budgets if bits > 0]
    if not budgets:
        return []
    train = np.ascontiguousarray(train, np.float32)
    test = np.ascontiguousarray(test, np.float32)
    scalar = PrincipalScalarQuantizer(train)
    widths = [width for width in BOOK_WIDTHS if len(train) >= 2**width]
    residual = {width: _fit_residual(train, budgets[-1], width, beam) for width in widths}
    mean = train.mean(axis=0, dtype=np.float64)
    rows = []
    for bits in budgets:
        rows.append(Baseline(REFERENCE, bits, gaussian_reference(scalar.variances, bits)))
        whole = min(math.ceil(bits), scalar.most_bits)
        decoded = scalar.reconstruct(test, whole)
        rows.append(Baseline("pca_lloyd_max", whole, quality(test, decoded, mean)))
        for width in widths:
            n_books = math.ceil(bits / width)
            n_parts = min(n_books, train.shape[1])
            score = quality(test, product_reconstruction(train, test, n_parts, width), mean)
            rows.append(Baseline(f"faiss_pq{width}", n_parts * width, score))
            score = quality(test, _decode_residual(residual[width], test, n_books), mean)
            rows.append(Baseline(f"faiss_rq{width}", n_books * width, score))
    return rows


def rows_within(memory: float, n_columns: int) -> int:
    """Return how many rows of so many columns the methods can be fitted to in so many GiB."""
    return max(FEWEST_ROWS, int(memory * 2**30 / (FITTING_COPIES * 4 * max(n_columns, 1))))


def residual_reconstruction(train: np.ndarray, x: np.ndarray, bits: float) -> np.ndarray:
    """Return rows x [m, D] decoded from residual codes of `bits` bits, fitted on train rows."""
    if bits <= 0:
        return np.repeat(train.mean(axis=0, dtype=np.float64)[None], len(x), axis=0)
    width = max((w for w in BOOK_WIDTHS if len(train) >= 2**w), default=1)
    train, x = (np.ascontiguousarray(rows, np.float32) for rows in (train, x))
    quantizer = _fit_residual(train, bits, width, BEAM_WIDTH)
    return _decode_residual(quantizer, x, math.ceil(bits / width))


class PrincipalScalarQuantizer:
    """Principal components, each with a Lloyd–Max quantiser of 2^b values.

    A bit goes to the component whose train error it lowers most. Quantisers are fitted when
    they are first needed, so that budgets share them.

    Parameters
    ----------
    train : array [n, D]
    """

    def __init__(self, train: np.ndarray):
        self._mean = train.mean(axis=0, dtype=np.float64)
        _, _, self._directions = np.linalg.svd(train - self._mean, full_matrices=False)
        self._scores = (train - self._mean) @ self._directions.T
        n_components = self._scores.shape[1]
        self._most_of_one = min(MOST_SCALAR_BITS, int(math.log2(len(train))))
        self._values: list[list[np.ndarray]] = [[np.zeros(1)] for _ in range(n_components)]
        self._error = [[float((score**2).sum())] for score in self._scores.T]
        self._order: list[int] = []  # component that each next bit goes to
        self._bits = np.zeros(n_components, int)
        self._gains = np.array([self._gain(i) for i in range(n_components)])

    @property
    def variances(self) -> np.ndarray:
        """Variances of the train rows along the components."""
        return np.array([without_bits for without_bits, *_ in self._error]) / len(self._scores)

    @property
    def most_bits(self) -> int:
        """Bits per row that the components can take together."""
        return self._most_of_one * len(self._bits)

    def reconstruct(self, x: np.ndarray, bits: int) -> np.ndarray:
        """Return rows [m, D] decoded from `bits` bits each, at most `most_bits`."""
        while len(self._order) < bits and np.isfinite(self._gains).any():
            self._spend()
        given = np.bincount(self._order[:bits], minlength=len(self._bits))
        scores = (x - self._mean) @ self._directions.T
        decoded = np.stack(
            [_nearest(scores[:, i], self._values[i][b]) for i, b in enumerate(given)], axis=1
        )
        return decoded @ self._directions + self._mean

    def _spend(self) -> None:
        best = int(self._gains.argmax())
        self._order.append(best)
        self._bits[best] += 1
        self._gains[best] = self._gain(best)

    def _gain(self, component: int) -> float:
        """Return how much the next bit of a component lowers the train error."""
        bits = int(self._bits[component])
        if bits >= self._most_of_one:
            return -np.inf
        scores = self._scores[:, component]
        values = _lloyd_max(scores, 2 ** (bits + 1))
        error = float(((scores - _nearest(scores, values)) ** 2).sum())
        self._values[component].append(values)
        self._error[component].append(error)
        return self._error[component][bits] - error


def _lloyd_max(scores: np.ndarray, n_values: int) -> np.ndarray:
    """Return ascending output values of a scalar quantiser (Lloyd 1982).

    It starts as k-means++ does: from quantiles, which lie too densely where scores do, it ends at
    thrice the error. By sums of sorted scores, since it takes many steps.
    """
    ordered = np.sort(scores.astype(np.float64))
    distinct = np.unique(ordered)
    if len(distinct) <= n_values:
        return distinct
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    start, _ = kmeans_plusplus(ordered[:, None], n_values, random_state=LLOYD_SEED)
    values = np.unique(start)
    for _ in range(LLOYD_STEPS):
        inner = np.searchsorted(ordered, (values[1:] + values[:-1]) / 2)
        edges = np.concatenate([[0], inner, [len(ordered)]])
        counts, before = np.diff(edges), values
        values = np.where(counts, np.diff(sums[edges]) / np.maximum(counts, 1), before)
        if np.array_equal(values, before):
            break
    return values


def _nearest(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    boundaries = (values[1:] + values[:-1]) / 2
    return values[np.searchsorted(boundaries, scores)]


def product_reconstruction(
    train: np.ndarray, x: np.ndarray, n_books: int, width: int
) -> np.ndarray:
    """Return rows x [m, D] decoded by product quantisation (Jégou et al. 2011), n_books ≤ D.

    The columns are dealt to the books in order, as evenly as can be; faiss wants as many for each,
    so zeros fill up those that have one less.
    """
    parts = np.array_split(np.arange(train.shape[1]), n_books)
    longest = len(parts[0])
    place = np.concatenate([i * longest + np.arange(len(part)) for i, part in enumerate(parts)])
    quantizer = faiss.ProductQuantizer(n_books * longest, n_books, width)
    quantizer.cp.min_points_per_centroid = 1
    quantizer.cp.seed = RESTARTS_SEED
    quantizer.train(_spread(train, place, quantizer.d))
    codes = quantizer.compute_codes(_spread(x, place, quantizer.d))
    return quantizer.decode(codes)[:, place]


def _spread(x: np.ndarray, place: np.ndarray, width: int) -> np.ndarray:
    """Return columns x [n, D] at `place` [D] of rows of zeros [n, width]."""
    spread = np.zeros((len(x), width), np.float32)
    spread[:, place] = x
    return spread


def _fit_residual(train: np.ndarray, bits: float, width: int, beam: int) -> faiss.ResidualQuantizer:
    quantizer = faiss.ResidualQuantizer(train.shape[1], math.ceil(bits / width), width)
    quantizer.cp.min_points_per_centroid = 1
    quantizer.max_beam_size = beam
    if len(train) <= train.shape[1]:  # its gradual way needs a full principal basis
        quantizer.train_type = faiss.ResidualQuantizer.Train_default
    quantizer.train(train)
    return quantizer


def _decode_residual(
    quantizer: faiss.ResidualQuantizer, test: np.ndarray, n_books: int
) -> np.ndarray:
    """Return test rows decoded from the first books alone, which were fitted before the others."""
    first = faiss.ResidualQuantizer(quantizer.d, n_books, int(quantizer.nbits.at(0)))
    n_values = n_books * 2 ** int(quantizer.nbits.at(0)) * quantizer.d
    books = faiss.vector_to_array(quantizer.codebooks)[:n_values]
    faiss.copy_array_to_vector(books, first.codebooks)
    first.max_beam_size = quantizer.max_beam_size
    first.is_trained = True
    blocks = range(0, len(test), ROW_BLOCK)  # a beam of all rows would be many copies of them
    decoded = [first.decode(first.compute_codes(test[i : i + ROW_BLOCK])) for i in blocks]
    return np.concatenate(decoded)
