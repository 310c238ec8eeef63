"""Initial states: four kinds of random fields on a periodic square grid."""

from collections.abc import Callable

import numpy as np
from scipy.fft import irfft2

MODES = 4  # of a sinusoidal state
MAX_BLOBS = 6
TINY = np.finfo(np.float64).tiny  # noise beyond the grid's wavenumbers is faint before scaling


def initial_fields(
    kind: str,
    shape: tuple[int, int, int],
    scale: float,
    amplitude: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return initial states, each field with zero mean and deviation `amplitude`.

    Parameters
    ----------
    kind : str
        gaussian_field, band_noise, sinusoids or blobs.
    shape : (M, C, G)
        Realizations, channels, points along each axis.
    scale : float
        Length of the structures, as a part of the grid.
    amplitude : float
    generator : numpy Generator

    Returns
    -------
    float32 array [M, C, G, G]
    """
    fields = KINDS[kind](shape, scale, generator)
    fields = fields - fields.mean(axis=(-2, -1), keepdims=True)
    deviation = fields.std(axis=(-2, -1), keepdims=True)
    return (amplitude * fields / np.maximum(deviation, TINY)).astype(np.float32)


def gaussian_field(
    shape: tuple[int, int, int], scale: float, generator: np.random.Generator
) -> np.ndarray:
    """Return Gaussian random fields; their spectrum is flat up to the wavenumber 1/`scale`."""
    radius = _wavenumbers(shape[2])
    amplitude = (1 + (radius * scale) ** 2) ** -1.5
    return _filtered_noise(shape, amplitude, generator)


def band_noise(
    shape: tuple[int, int, int], scale: float, generator: np.random.Generator
) -> np.ndarray:
    """Return noise of the wavenumbers within half an octave of 1 / scale."""
    radius = _wavenumbers(shape[2])
    distance = np.log2(np.maximum(radius, 1e-9) * scale)
    return _filtered_noise(shape, np.exp(-0.5 * (distance / 0.25) ** 2), generator)


def sinusoids(
    shape: tuple[int, int, int], scale: float, generator: np.random.Generator
) -> np.ndarray:
    """Return sums of few plane waves with wavenumbers up to 1 / scale."""
    realizations, channels, grid = shape
    largest = max(1, min(grid // 2 - 1, round(1 / scale)))
    waves = generator.integers(-largest, largest + 1, (realizations, channels, MODES, 2))
    waves[(waves == 0).all(axis=-1)] = 1  # a constant is no wave
    phase = generator.uniform(0, 2 * np.pi, (realizations, channels, MODES, 1, 1))
    weight = generator.standard_normal((realizations, channels, MODES, 1, 1))
    x = np.arange(grid) / grid
    angle = (
        2
        * np.pi
        * (waves[..., 0, None, None] * x[:, None] + waves[..., 1, None, None] * x[None, :])
    )
    return (weight * np.cos(angle + phase)).sum(axis=2)


def blobs(shape: tuple[int, int, int], scale: float, generator: np.random.Generator) -> np.ndarray:
    """Return sums of few localised bumps of width about scale / 2."""
    realizations, channels, grid = shape
    count = generator.integers(1, MAX_BLOBS + 1)
    centre = generator.uniform(0, 1, (realizations, channels, count, 2))
    width = 0.5 * scale * generator.uniform(0.7, 1.3, (realizations, channels, count, 1, 1))
    sign = generator.choice([-1.0, 1.0], (realizations, channels, count, 1, 1), p=[0.3, 0.7])
    x = np.arange(grid) / grid
    dx = _periodic(x - centre[..., 0, None])[..., :, None]
    dy = _periodic(x - centre[..., 1, None])[..., None, :]
    return (sign * np.exp(-0.5 * (dx**2 + dy**2) / width**2)).sum(axis=2)


KINDS: dict[str, Callable[[tuple[int, int, int], float, np.random.Generator], np.ndarray]] = {
    "gaussian_field": gaussian_field,
    "band_noise": band_noise,
    "sinusoids": sinusoids,
    "blobs": blobs,
}


def _wavenumbers(grid: int) -> np.ndarray:
    """Return |k| of the half spectrum [G, G // 2 + 1], in waves per grid."""
    return np.hypot(np.fft.fftfreq(grid, 1 / grid)[:, None], np.fft.rfftfreq(grid, 1 / grid))


def _filtered_noise(
    shape: tuple[int, int, int], amplitude: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    realizations, channels, grid = shape
    size = (realizations, channels, grid, grid // 2 + 1)
    spectrum = generator.standard_normal(size) + 1j * generator.standard_normal(size)
    # of waves that no column of the half spectrum repeats, irfft2 keeps the real part alone
    spectrum[..., [0, grid // 2] if grid % 2 == 0 else [0]] *= np.sqrt(2)
    return irfft2(spectrum * amplitude, s=(grid, grid))


def _periodic(distance: np.ndarray) -> np.ndarray:
    return distance - np.round(distance)
