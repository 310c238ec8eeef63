"""Random numbers of an operator: keyed by the dataset's seed and the operator's number."""

import numpy as np


def operator_generator(seed: int, index: int) -> np.random.Generator:
    """Return the generator of operator `index`, whatever other operators draw.

    Philox is a function of its key (Salmon et al. 2011), so no state is shared.
    """
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
