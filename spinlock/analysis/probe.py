"""What tokens are worth downstream: a label predicted from them, and from their rivals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

REGULARISATION = 0.1  # of the logistic regression: its C


def probe(
    features: Mapping[str, np.ndarray], labels: np.ndarray, train: np.ndarray, test: np.ndarray
) -> dict[str, Any]:
    """Return the test accuracy of predicting a label from each kind of features, and by chance.

    Parameters
    ----------
    features : mapping
        Name → array [n, d].
    labels : array [n]
    train, test : int arrays
        Rows that the predictors are fitted and measured on.

    Returns
    -------
    dict
        `majority`: accuracy of the commonest train label; `logistic` (on standardised features)
        and `nearest` (the label of the nearest train row): name → accuracy. Both are left out
        where the train rows have one label, or hardly two rows of any.
    """
    kinds, counts = np.unique(labels[train], return_counts=True)
    majority = float((labels[test] == kinds[counts.argmax()]).mean())
    if not 2 <= len(kinds) <= len(train) / 2:  # nothing to learn, or not to be learned
        return {"majority": majority}
    predictors = {
        "logistic": make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=5000, C=REGULARISATION)
        ),
        "nearest": KNeighborsClassifier(n_neighbors=1),
    }
    return {"majority": majority} | {
        predictor: {
            name: float(model.fit(values[train], labels[train]).score(values[test], labels[test]))
            for name, values in features.items()
        }
        for predictor, model in predictors.items()
    }
