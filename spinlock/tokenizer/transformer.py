"""What scikit-learn asks of a step of a pipeline that was fitted before."""

from typing import Any, Self


class FittedTransformer:
    """Base of a transformer with nothing left to fit: pipelines take it as it is.

    It needs no class of scikit-learn, which is imported when a pipeline asks for its tags.
    """

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: ARG002 (scikit-learn's names)
        """Return this transformer: it was trained before, and nothing is fitted here."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Self:
        return self  # a fit changes nothing, so that folds and pipelines can share it

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags  # noqa: PLC0415

        return Tags(
            estimator_type="transformer",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(),
            input_tags=InputTags(allow_nan=True),
            requires_fit=False,
        )
