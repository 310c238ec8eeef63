"""Features of single frames: moments, gradients, spectra. Shared by all behaviour families."""

import numpy as np
from scipy.fft import rfft2

FRAME_NAMES = (
    "mean",
    "deviation",
    "skewness",
    "kurtosis",
    "minimum",
    "maximum",
    "mean_magnitude",
    "gradient",
    "curvature",
    "anisotropy",
    "spectral_centroid",
    "spectral_width",
    "spectral_entropy",
    "spectral_slope",
    "low_band",
    "middle_band",
    "high_band",
    "dominant_wavenumber",
    "neighbour_correlation",
    "sign_changes",
    "change",
)
STATIC_NAMES = FRAME_NAMES[:14]  # those that describe an initial field
TINY = np.float32(1e-12)
LARGEST_SHAPE_MOMENT = 50.0  # of kurtosis: heavier tails than this are not told apart


def frame_features(frames: np.ndarray, rounding: float = 0.0) -> np.ndarray:
    """Return the features of every frame but `change`, [..., 20].

    Parameters
    ----------
    frames : float32 array [..., G, G]
        Periodic fields. Features of a frame that is not finite are NaN. One that hardly varies
        (a deviation far below 1e-3) has no shape: skewness and kurtosis fade to 0.
    rounding : float
        Share of a frame's power that the slope of its spectrum takes for no power, in fields that
        have none at some wavenumbers.
    """
    shape, grid = frames.shape[:-2], frames.shape[-1]
    flat = frames.reshape(-1, grid, grid)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        columns = _moments(flat) | _gradients(flat) | _spectrum(flat, rounding)
    features = np.stack([columns[name] for name in FRAME_NAMES[:-1]], axis=-1)
    features[~np.isfinite(columns["mean"])] = np.nan  # the mean sees every value
    return features.reshape(*shape, -1)


def change_feature(states: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """Return asinh of the rms change into each state, [M, T, C].

    Parameters
    ----------
    states : array [M, T, C, G, G]
    initial : array [M, C, G, G]
    """
    change = np.empty(states.shape[:3], np.float32)
    change[:, 0] = _rms(states[:, 0] - initial)
    for t in range(1, states.shape[1]):
        change[:, t] = _rms(states[:, t] - states[:, t - 1])
    return np.arcsinh(change)


def _moments(u: np.ndarray) -> dict[str, np.ndarray]:
    n = u.shape[-1] * u.shape[-2]
    flat = u.reshape(len(u), n)
    mean = flat.mean(axis=1)
    centred = flat - mean[:, None]
    square = centred * centred
    variance = square.mean(axis=1)
    deviation = np.sqrt(variance)
    skewness = np.einsum("fn,fn->f", square, centred) / n / (variance * deviation + TINY)
    fourth = np.einsum("fn,fn->f", square, square) / n
    kurtosis = (fourth - 3 * variance * variance) / (variance * variance + TINY)
    return {
        "mean": np.arcsinh(mean),
        "deviation": np.arcsinh(deviation),
        "skewness": np.arcsinh(skewness),
        "kurtosis": np.arcsinh(np.minimum(kurtosis, LARGEST_SHAPE_MOMENT)),
        "minimum": np.arcsinh(flat.min(axis=1)),
        "maximum": np.arcsinh(flat.max(axis=1)),
        "mean_magnitude": np.arcsinh(np.abs(flat).mean(axis=1)),
        "sign_changes": _sign_changes(centred.reshape(u.shape)),
    }


def _sign_changes(centred: np.ndarray) -> np.ndarray:
    positive = centred > 0
    along = positive != np.roll(positive, 1, axis=-1)
    finite = np.isfinite(centred[:, 0, 0])
    return np.where(finite, along.mean(axis=(-2, -1), dtype=np.float32), np.float32(np.nan))


def _gradients(u: np.ndarray) -> dict[str, np.ndarray]:
    n = u.shape[-1] * u.shape[-2]
    dx, dy = np.roll(u, -1, axis=-1) - u, np.roll(u, -1, axis=-2) - u
    along_x = np.einsum("fyx,fyx->f", dx, dx) / n
    along_y = np.einsum("fyx,fyx->f", dy, dy) / n
    curvature = dx - np.roll(dx, 1, axis=-1) + dy - np.roll(dy, 1, axis=-2)
    curved = np.einsum("fyx,fyx->f", curvature, curvature) / n
    return {
        "gradient": np.arcsinh(np.sqrt(along_x + along_y)),
        "curvature": np.arcsinh(np.sqrt(curved)),
        "anisotropy": (along_x - along_y) / (along_x + along_y + TINY),
    }


def _spectrum(u: np.ndarray, rounding: float) -> dict[str, np.ndarray]:
    """Return features of the isotropic power spectrum; one transform serves all of them."""
    grid = u.shape[-1]
    transform = rfft2(u)
    power = transform.real**2 + transform.imag**2
    bins, weights, correlation_weights = _spectral_bins(grid)
    flat = power.reshape(len(u), -1)
    by_wavenumber = flat @ bins  # [F, n_bins], wavenumbers 1, 2, ...
    total = by_wavenumber.sum(axis=1, keepdims=True)
    share = by_wavenumber / (total + TINY)
    k = np.arange(1, share.shape[1] + 1, dtype=np.float32)
    centroid = share @ k
    log_k = np.log(k) - np.log(k).mean()
    log_power = np.log(by_wavenumber / weights + np.float32(rounding) * total + TINY)
    thirds = np.array_split(np.arange(len(k)), 3)
    entropy = -(share * np.log(share + TINY)).sum(axis=1) / np.log(len(k))
    return {
        "spectral_centroid": centroid,
        "spectral_width": np.sqrt(np.maximum(share @ k**2 - centroid**2, 0)),
        "spectral_entropy": entropy,
        "spectral_slope": (log_power @ log_k) / (log_k @ log_k),
        "low_band": share[:, thirds[0]].sum(axis=1),
        "middle_band": share[:, thirds[1]].sum(axis=1),
        "high_band": share[:, thirds[2]].sum(axis=1),
        "dominant_wavenumber": _arg_of_largest(share),
        "neighbour_correlation": (flat @ correlation_weights) / (total[:, 0] + TINY),
    }


def _arg_of_largest(share: np.ndarray) -> np.ndarray:
    """Return the wavenumber of the largest share, NaN where shares are not numbers."""
    finite = np.isfinite(share[:, 0])
    largest = np.argmax(np.where(finite[:, None], share, 0), axis=1) + 1
    return np.where(finite, largest, np.nan).astype(np.float32)


def _spectral_bins(grid: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what sums a half spectrum: by wavenumber, counts, and the one-step correlation."""
    kx = np.fft.rfftfreq(grid, 1 / grid)
    ky = np.fft.fftfreq(grid, 1 / grid)[:, None]
    radius = np.rint(np.hypot(kx, ky)).astype(int)
    twice = np.where((kx > 0) & (kx < grid / 2), 2.0, 1.0) * np.ones_like(ky)
    n_bins = grid // 2
    bins = np.zeros((radius.size, n_bins), np.float32)
    for k in range(1, n_bins + 1):
        last = k == n_bins
        inside = (radius >= k) if last else (radius == k)
        bins[:, k - 1] = (inside * twice).ravel()
    shift = 0.5 * (np.cos(2 * np.pi * kx / grid) + np.cos(2 * np.pi * ky / grid))
    correlation = np.where(radius > 0, twice * shift, 0.0)
    return bins, bins.sum(axis=0), correlation.ravel().astype(np.float32)


def _rms(u: np.ndarray) -> np.ndarray:
    n = u.shape[-1] * u.shape[-2]
    with np.errstate(invalid="ignore", over="ignore"):
        return np.sqrt(np.einsum("mcyx,mcyx->mc", u, u) / n)
