"""The points of a design: a scrambled Sobol sequence, of which each point is an operator."""

import numpy as np
from scipy.stats import qmc

DIMENSIONS = (
    "depth",
    "width",
    "kernel_size",
    "activation",
    "normalization",
    "gain",
    "bias_scale",
    "dropout",
    "noise_scale",
    "policy",
    "step_size",
    "mixing_rate",
    "kernel_decay",
    "anisotropy",
    "channel_coupling",
    "damping",
    "forcing",
    "saturation",
    "initial_kind",
    "initial_scale",
    "initial_amplitude",
)


def design_points(seed: int, first: int, count: int) -> np.ndarray:
    """Return points first..first+count of the scrambled Sobol sequence, float64 [count, 21].

    A point depends on the seed and its own number only (Owen 1998, scrambling).
    """
    sequence = qmc.Sobol(len(DIMENSIONS), scramble=True, rng=np.random.default_rng(seed))
    if first:
        sequence.fast_forward(first)
        return sequence.random(count)
    # one point first: scipy warns of a first draw that is no power of two
    return np.concatenate([sequence.random(1), sequence.random(count - 1)])
