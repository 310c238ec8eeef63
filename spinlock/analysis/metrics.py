"""What tells how good tokens are beside the four metrics that have targets (docs/metrics.md)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold import trustworthiness

from spinlock.tokenizer.target_metrics import RATIO_LIMIT, quality, squared_errors

WORST_FEATURES = 10
NEIGHBOURS = 10
DEPENDENCE_ROWS = 1000  # each pair of categories costs the square of it
CAPS_MATTER = 0.05  # of R² of the worst tenth of the features, that capping hides
DOMINANT = 0.5  # share of the variance: a feature that has more decides the pooled R²


def quality_by_feature(
    x: np.ndarray, decoded: np.ndarray, train_mean: np.ndarray, names: Sequence[str]
) -> dict[str, object]:
    """Return median, 10th percentile and minimum of R² over features, and the worst by name.

    Features that do not vary in these rows have no R²; they are counted as `undefined`. The one
    that weighs most in the pooled R² is named, with its share of the variance.
    """
    error, total = squared_errors(x, decoded, train_mean)
    varies = (total > RATIO_LIMIT) & (np.ptp(x, axis=0) > 0)
    r2 = 1 - error[varies] / total[varies]
    order = np.argsort(r2, kind="stable")[:WORST_FEATURES]
    known = np.asarray(names)[varies]
    heaviest = None
    if len(r2):
        most = total[varies].argmax()
        heaviest = {"feature": str(known[most]), "share": float(total[varies][most] / total.sum())}
    return {
        "median": float(np.median(r2)) if len(r2) else None,
        "percentile_10": float(np.percentile(r2, 10)) if len(r2) else None,
        "minimum": float(r2.min()) if len(r2) else None,
        "undefined": int((~varies).sum()),
        "heaviest": heaviest,
        "worst": [{"feature": str(known[i]), "quality": float(r2[i])} for i in order],
    }


def dominant_feature(by_feature: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the feature, with its share, that decides the pooled R² alone; None where none does.

    `by_feature` is what `quality_by_feature` gave. One of two features always has half of it.
    """
    heaviest = by_feature.get("heaviest")
    several = len(by_feature.get("worst", ())) > 2
    return heaviest if heaviest and several and heaviest["share"] > DOMINANT else None


def hidden_by_caps(measured: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the R² that a tenth of the features do not reach, with and without caps.

    None where they are much the same. `measured` is what metrics.json holds.
    """
    capped, whole = (
        measured.get(name, {}).get("percentile_10")
        for name in ("quality_by_feature", "quality_before_caps")
    )
    if capped is None or whole is None or capped - whole <= CAPS_MATTER:
        return None
    return capped, whole


def quality_by_group(
    x: np.ndarray, decoded: np.ndarray, train_mean: np.ndarray, groups: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    """Return R² pooled over the columns of each group: name → columns."""
    return {
        name: quality(x[:, columns], decoded[:, columns], train_mean[columns])
        for name, columns in groups.items()
    }


def reachable_utilization(sizes: np.ndarray, n_rows: int) -> float | None:
    """Return the utilization that `n_rows` uniform draws reach on average, 1 − (1 − 1/K)^n."""
    sizes = np.asarray(sizes, float)
    reached = 1 - (1 - 1 / sizes[sizes > 1]) ** n_rows
    return float(reached.mean()) if len(reached) else None


def entropy_bits(counts: np.ndarray) -> float:
    """Return the entropy of a code histogram, in bits."""
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(share * np.log2(share)).sum())


def book_table(
    counts: Sequence[Sequence[np.ndarray]], categories: Sequence[str], levels: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return size, share of used codes and perplexity 2^H of every book, by category and level."""
    return {
        category: {
            level: {
                "codes": len(book),
                "used": float((book > 0).mean()),
                "perplexity": float(2 ** entropy_bits(book)),
            }
            for level, book in zip(levels, books, strict=True)
        }
        for category, books in zip(categories, counts, strict=True)
    }


def code_dependence(embeddings: np.ndarray) -> dict[str, float | None]:
    """Return mean and maximum squared distance correlation of the codes [n, C, E] of categories.

    Bias-corrected by U-centring (Székely & Rizzo 2014, "Partial distance correlation with
    methods for dissimilarities", eq. 2.5–2.8): zero on average for independent categories.
    Measured on the first `DEPENDENCE_ROWS` rows.
    """
    n_rows, n_categories = embeddings.shape[:2]
    if n_rows < 4 or n_categories < 2:
        return {"mean": None, "maximum": None}
    centred = np.stack([_u_centred(embeddings[:, c]) for c in range(n_categories)])
    products = centred.reshape(n_categories, -1) @ centred.reshape(n_categories, -1).T
    norms = np.sqrt(np.clip(np.diag(products), RATIO_LIMIT, None))
    pairs = np.triu_indices(n_categories, k=1)
    dependence = (products / np.outer(norms, norms))[pairs]
    return {"mean": float(dependence.mean()), "maximum": float(dependence.max())}


def neighbourhood_trust(x: np.ndarray, codes: np.ndarray) -> float | None:
    """Return scikit-learn's trustworthiness of code vectors for 10 neighbours.

    None of too few rows, and of rows or codes that are all the same: which are near is then
    decided by their order.
    """
    if len(x) <= 2 * NEIGHBOURS or not (np.ptp(x, axis=0).any() and np.ptp(codes, axis=0).any()):
        return None
    return float(trustworthiness(x, codes, n_neighbors=NEIGHBOURS))


def gaussian_reference(variances: np.ndarray, bits: float) -> float | None:
    """Return the R² of reverse water-filling at `bits` bits (Cover & Thomas, theorem 10.3.3).

    θ solves Σ max(0, ½ log2(λ_i / θ)) = bits; R² = 1 − Σ min(λ_i, θ) / Σ λ_i, with λ the
    variances along principal axes.
    """
    variances = variances[variances > 1e-12 * variances.max()]
    if not len(variances):
        return None

    def excess(log_theta: float) -> float:
        gains = np.maximum(0, 0.5 * (np.log2(variances) - log_theta))
        return float(gains.sum() - bits)

    low = float(np.log2(variances.min())) - 2 * bits - 1
    log_theta = brentq(excess, low, float(np.log2(variances.max())))
    return float(1 - np.minimum(variances, 2.0**log_theta).sum() / variances.sum())


def _u_centred(codes: np.ndarray) -> np.ndarray:
    distance = squareform(pdist(codes[:DEPENDENCE_ROWS].astype(np.float64)))
    n = len(distance)
    rows = distance.sum(axis=1)
    centred = distance - rows[:, None] / (n - 2) - rows[None, :] / (n - 2)
    centred += rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0.0)
    return centred
