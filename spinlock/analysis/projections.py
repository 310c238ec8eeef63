"""Maps of points onto the plane: UMAP and t-SNE, the same each time."""

import warnings

import numpy as np
from sklearn.manifold import TSNE

LINEAR_DIMS = 50  # neighbours are searched among this many principal components
NEIGHBORS = 15
PERPLEXITY = 30.0
FEWEST_POINTS = 5  # fewer have no neighbourhoods worth a map

METHODS = {"umap": "UMAP", "tsne": "t-SNE"}


def project(vectors: np.ndarray, method: str, seed: int) -> np.ndarray:
    """Return a map [n, 2] of vectors [n, d] that keeps neighbours together.

    Both methods start from the first two principal components, which keeps the large
    structure in place (Kobak and Linderman 2021).

    Parameters
    ----------
    vectors : array [n, d]
        At least `FEWEST_POINTS` of them.
    method : str
        umap (McInnes et al. 2018) or tsne (van der Maaten and Hinton 2008).
    seed : int
    """
    if not np.ptp(vectors, axis=0).any():  # UMAP divides by the extent
        return np.zeros((len(vectors), 2))
    components = principal_components(vectors, LINEAR_DIMS)
    return _umap(components, seed) if method == "umap" else _tsne(components, seed)


def principal_components(vectors: np.ndarray, dims: int) -> np.ndarray:
    """Return vectors [n, d] in their first principal components [n, at least 2, at most dims].

    The sign of each component is that of its largest entry, so that a map is not mirrored by
    another linear algebra library.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(dims, int((lengths > 1e-10 * max(lengths[0], 1e-300)).sum()))
    scores = left[:, :kept] * lengths[:kept]
    peak = scores[np.abs(scores).argmax(axis=0), np.arange(kept)]
    scores *= np.where(peak < 0, -1.0, 1.0)
    return np.pad(scores, ((0, 0), (0, max(0, 2 - kept))))


def _start(components: np.ndarray, extent: float) -> np.ndarray:
    start = components[:, :2]
    return (extent * start / max(float(start[:, 0].std()), 1e-12)).astype(np.float32)


def _umap(components: np.ndarray, seed: int) -> np.ndarray:
    with warnings.catch_warnings():
        # umap says at import that tensorflow is not there, for a class that is not used here
        warnings.simplefilter("ignore", ImportWarning)
        from umap import UMAP  # noqa: PLC0415 - compiles for seconds when imported
    neighbors = min(NEIGHBORS, len(components) - 1)
    model = UMAP(n_neighbors=neighbors, init=_start(components, 5.0), random_state=seed, n_jobs=1)
    with warnings.catch_warnings():
        # equal points, such as operators with equal tokens, may form islands of their own
        warnings.filterwarnings("ignore", message=".*graph is not fully connected.*")
        return np.asarray(model.fit_transform(components.astype(np.float32)), np.float64)


def _tsne(components: np.ndarray, seed: int) -> np.ndarray:
    perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
    model = TSNE(perplexity=perplexity, init=_start(components, 1e-4), random_state=seed, n_jobs=1)
    return model.fit_transform(components.astype(np.float32)).astype(np.float64)
