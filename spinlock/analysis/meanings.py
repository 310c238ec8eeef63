"""What a token means: the features of the operators that have it, and the nearest of them."""

from dataclasses import dataclass

import numpy as np

REPETITION = 0.9  # |correlation| from which a feature repeats another


@dataclass(frozen=True)
class Meaning:
    """What the operators with one code of a category have in common.

    Attributes
    ----------
    code : int
    count : int
        Operators with this code.
    features : int array [k]
        The category's columns that deviate most, strongest first.
    deviation : array [k]
        Their mean among these operators less that of all, in standard deviations.
    operators : int array [m]
        Positions of the operators nearest to that mean, nearest first.
    """

    code: int
    count: int
    features: np.ndarray
    deviation: np.ndarray
    operators: np.ndarray

    @property
    def strength(self) -> float:
        """Root mean square of the deviations that are listed."""
        return float(np.sqrt(np.mean(self.deviation**2)))


def code_meanings(
    x: np.ndarray,
    codes: np.ndarray,
    members: np.ndarray,
    n_features: int = 5,
    n_operators: int = 5,
    n_codes: int | None = None,
) -> list[Meaning]:
    """Return the meaning of each code that is used, the most frequent first.

    Parameters
    ----------
    x : array [n, D]
        Normalised rows.
    codes : int array [n]
        One category's code of each row.
    members : int array
        The category's columns.
    n_codes : int, optional
        Only so many of the most frequent codes.
    """
    own = x[:, members]
    usual, spread = own.mean(axis=0), own.std(axis=0)
    used, counts = np.unique(codes, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:n_codes]
    meanings = []
    for code, count in zip(used[frequent], counts[frequent], strict=True):
        rows = np.flatnonzero(codes == code)
        mean = own[rows].mean(axis=0)
        deviation = (mean - usual) / np.where(spread > 0, spread, 1.0)
        strongest = np.argsort(-np.abs(deviation), kind="stable")[:n_features]
        nearest = np.argsort(((own[rows] - mean) ** 2).sum(axis=1), kind="stable")[:n_operators]
        meanings.append(
            Meaning(int(code), int(count), members[strongest], deviation[strongest], rows[nearest])
        )
    return meanings


def typical_features(
    correlation: np.ndarray, categories: list[np.ndarray], n_features: int = 3
) -> list[np.ndarray]:
    """Return the columns that correlate best with the rest of their category, best first.

    Columns that nearly repeat a better one tell nothing more, and are passed over.
    """
    typical = []
    for members in categories:
        within = np.abs(correlation[np.ix_(members, members)])
        chosen: list[int] = []
        for i in np.argsort(-within.mean(axis=1), kind="stable"):
            if len(chosen) < n_features and (within[i, chosen] < REPETITION).all():
                chosen.append(int(i))
        typical.append(members[chosen])
    return typical
