"""What a dataset of simulated operators will look like, before there is any."""

import numpy as np

from spinlock.features.family_layout import FamilyLayout
from spinlock.operators.records import FAMILY_COLUMNS

LABELS = ("metadata/diverged", "metadata/evolution_policy", "metadata/initial_condition")


def family_layouts(steps: int) -> dict[str, FamilyLayout]:
    """Return family → its columns in a dataset of operators that are simulated for `steps`."""
    layouts = {}
    for family, columns in FAMILY_COLUMNS.items():
        names = list(columns)
        shape = (steps, len(names)) if family == "temporal" else (len(names),)
        layouts[family] = FamilyLayout(family, shape, names, np.dtype(np.float32))
    return layouts
