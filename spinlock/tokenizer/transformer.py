"""What scikit-learn asks of a step of a pipeline that was fitted before."""

import copy
import sys
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from spinlock.errors import SpinlockError


class FittedTransformer:
    """Base of a transformer with nothing left to fit: pipelines take it as it is.

    It needs no class of scikit-learn, which is imported when a pipeline asks for its tags.
    """

    _output: str | None = None

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: ARG002 (scikit-learn's names)
        """Return this transformer: it was trained before, and nothing is fitted here."""
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray | pd.DataFrame:  # noqa: ARG002
        """Return what `transform` does: there is nothing to fit."""
        return self.transform(X)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what `transform` returns: "default", an array, or "pandas"; None changes nothing.

        Raises
        ------
        SpinlockError
            When it is something else.
        """
        if transform not in (None, "default", "pandas"):
            raise SpinlockError(
                f"tokens cannot be given as {transform!r}", remedy='choose "default" or "pandas"'
            )
        self._output = transform or self._output
        return self

    def _in_container(
        self, table: np.ndarray, names: Sequence[str], given: Any
    ) -> np.ndarray | pd.DataFrame:
        """Return a table as `set_output` says, else as scikit-learn is configured.

        A frame has the columns `names`, and the rows of `given` where that is a frame.
        """
        sklearn = sys.modules.get("sklearn")  # who has not imported it has not configured it
        configured = sklearn.get_config()["transform_output"] if sklearn else "default"
        if (self._output or configured) != "pandas":
            return table
        index = given.index if isinstance(given, pd.DataFrame) else None
        return pd.DataFrame(table, index=index, columns=list(names))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Self:
        return copy.copy(self)  # which shares the model, and has its own choice of `set_output`

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags  # noqa: PLC0415

        return Tags(
            estimator_type="transformer",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(),
            input_tags=InputTags(allow_nan=True),
            requires_fit=False,
        )
