"""What the figures and the report show, as arrays: gathered once, drawn many times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from spinlock.analysis.projections import FEWEST_POINTS, METHODS, project
from spinlock.tokenizer.categories.centroids import category_centroids
from spinlock.tokenizer.target_metrics import squared_errors
from spinlock.tokenizer.tokenizer import Tokenizer

ROUNDING = 1e-6  # of normalised values in single precision, in standard deviations
MOST_CODES = 2000  # codes in a map; the least used are left out first
CHANGED_FEATURES = 3  # that are named for each code


@dataclass(frozen=True)
class Sample:
    """Operators: normalised features, tokens, and what is known about them.

    Attributes
    ----------
    x : float32 array [n, D]
    tokens : int array [n, C, L]
    ids : int array [n]
        Row of each operator in the dataset.
    split : int array [n]
        0 train, 1 validation, 2 test.
    labels : mapping
        Name → array [n].
    """

    x: np.ndarray
    tokens: np.ndarray
    ids: np.ndarray
    split: np.ndarray
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class CodeMaps:
    """Maps of the codes, and whose codes they are.

    Attributes
    ----------
    maps : mapping
        Name of the method → positions [codes, 2].
    category, level, code, count : int arrays [codes]
    features : int array [codes, k]
        The columns that each code changes most.
    change : array [codes, k]
        By how many standard deviations.
    """

    maps: Mapping[str, np.ndarray]
    category: np.ndarray
    level: np.ndarray
    code: np.ndarray
    count: np.ndarray
    features: np.ndarray
    change: np.ndarray


@dataclass(frozen=True)
class ClusteringResult:
    """What the stage `cluster` left behind.

    Attributes
    ----------
    candidates : mapping
        Columns of silhouette.csv → arrays.
    merge_tree : array [D - 1, 4]
    correlation : array [D, D]
    """

    candidates: Mapping[str, np.ndarray]
    merge_tree: np.ndarray
    correlation: np.ndarray


@dataclass(frozen=True)
class Reconstruction:
    """How well rows are decoded: of those that took no part in training, where there are any.

    Attributes
    ----------
    rows : str
        Which rows: test, or validation or train where there are no others.
    n_rows : int
    by_feature : array [L, D]
        R² of each column when levels 0..l are decoded; NaN where a column is constant.
    cosines : array [C, C]
        |cosine| between category centroids; NaN where nothing of a category varies.
    """

    rows: str
    n_rows: int
    by_feature: np.ndarray
    cosines: np.ndarray


@dataclass(frozen=True)
class Distances:
    """Distances of pairs of rows and of their code vectors, arrays [pairs]."""

    between_rows: np.ndarray
    between_codes: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """Everything about one experiment that is shown."""

    experiment: str
    tokenizer: Tokenizer
    sample: Sample
    counts: Sequence[Sequence[np.ndarray]]
    operator_maps: Mapping[str, np.ndarray]
    code_maps: CodeMaps
    clustering: ClusteringResult
    reconstruction: Reconstruction
    distances: Distances
    metrics: Mapping[str, Any]
    baselines: Mapping[str, tuple[np.ndarray, np.ndarray]]
    color_by: int
    orthogonality_target: float

    @property
    def levels(self) -> Sequence[str]:
        """Names of the levels, coarse to fine."""
        return self.tokenizer.levels

    @property
    def names(self) -> list[str]:
        """Full names of the kept columns."""
        return self.tokenizer.kept_names

    @property
    def families(self) -> list[str]:
        """Family of each kept column."""
        return [self.tokenizer.columns[i].family for i in self.tokenizer.kept]

    @property
    def short_names(self) -> list[str]:
        """Names of the kept columns without their family."""
        return [self.tokenizer.columns[i].name for i in self.tokenizer.kept]

    def target(self, name: str) -> float:
        """Return what a metric should reach."""
        return next(one["target"] for one in self.metrics["targets"] if one["name"] == name)

    @property
    def categories(self) -> dict[str, np.ndarray]:
        """Category → kept columns."""
        return self.tokenizer.categories

    def in_units(self, x: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return values [..., columns] of normalised values, in original units.

        What is 0 but for the rounding of normalised values is 0.
        """
        return self._without_rounding(self.tokenizer.statistics.in_units(x, columns), columns)

    def mean_in_units(self, x: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return means [columns] of normalised rows x [n, columns], in original units.

        They are means of these units, also where tails are normalised as logarithms.
        """
        values = self.tokenizer.statistics.in_units(x, columns)
        return self._without_rounding(values.mean(axis=0, dtype=np.float64), columns)

    def _without_rounding(self, values: np.ndarray, columns: np.ndarray) -> np.ndarray:
        statistics = self.tokenizer.statistics
        scale = statistics.scale[statistics.kept[columns]]
        return np.where(np.abs(values) < ROUNDING * scale, 0.0, values)


def map_operators(
    tokenizer: Tokenizer, tokens: np.ndarray, methods: Sequence[str], seed: int
) -> dict[str, np.ndarray]:
    """Return maps of operators by their code vectors; none when there are too few."""
    if len(tokens) < FEWEST_POINTS:
        return {}
    vectors = tokenizer.embed(tokens).reshape(len(tokens), -1)
    return {METHODS[method]: project(vectors, method, seed) for method in methods}


def map_codes(
    tokenizer: Tokenizer,
    counts: Sequence[Sequence[np.ndarray]],
    methods: Sequence[str],
    seed: int,
) -> CodeMaps:
    """Return maps of the codes that are used, by what each changes in the decoded features.

    Code vectors of different categories live in different spaces. What can be compared is
    x̂(typical tokens with this one code put in) − x̂(typical tokens), in normalised features.
    """
    books = [
        (c, level, code, book[code])
        for c, levels in enumerate(counts)
        for level, book in enumerate(levels)
        for code in np.flatnonzero(book)
    ]
    owners = np.array(books, int).reshape(-1, 4)
    most_used = np.sort(np.argsort(-owners[:, 3], kind="stable")[:MOST_CODES])
    category, level, code, count = owners[most_used].T
    typical = np.array([[book.argmax() for book in levels] for levels in counts])
    tokens = np.repeat(typical[None], len(code), axis=0)
    tokens[np.arange(len(code)), category, level] = code
    effects = tokenizer.reconstruct(tokens) - tokenizer.reconstruct(typical[None])
    enough = len(effects) >= FEWEST_POINTS
    maps = {METHODS[m]: project(effects, m, seed) for m in methods} if enough else {}
    strongest = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :CHANGED_FEATURES]
    change = np.take_along_axis(effects, strongest, axis=1)
    return CodeMaps(maps, category, level, code, count, strongest, change)


def measure_reconstruction(
    tokenizer: Tokenizer, x: np.ndarray, tokens: np.ndarray, rows: str
) -> Reconstruction:
    """Compare rows x [n, D] with what their tokens decode to, level by level."""
    n_levels = tokens.shape[2]
    mean = tokenizer.statistics.normalized_mean
    varies = np.ptp(x, axis=0) > 0
    by_feature = np.empty((n_levels, x.shape[1]))
    for level in range(n_levels):
        error, total = squared_errors(x, tokenizer.reconstruct(tokens, level + 1), mean)
        by_feature[level] = 1 - error / np.where(varies, total, np.nan)
    centroids = category_centroids(x, list(tokenizer.categories.values()))
    cosines = np.abs(centroids @ centroids.T)
    still = ~centroids.any(axis=1)
    cosines[still] = cosines[:, still] = np.nan
    return Reconstruction(rows, len(x), by_feature, cosines)


def measure_distances(tokenizer: Tokenizer, x: np.ndarray, tokens: np.ndarray) -> Distances:
    """Compare the distances of all pairs i < j of rows x [n, D] with those of their codes."""
    codes = tokenizer.embed(tokens).reshape(len(tokens), -1)
    return Distances(pdist(x.astype(np.float64)), pdist(codes.astype(np.float64)))


def leading_feature(x: np.ndarray) -> int:
    """Return the column that varies most along the first principal component of rows x."""
    _, _, directions = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    return int(np.abs(directions[0]).argmax())
