"""Settings of the rows and columns that an experiment uses: the split, cleaning."""

from typing import Literal, Self

from pydantic import model_validator

from spinlock.settings.section import Section, setting

SUBSET, NORMALIZE = ("subset",), ("normalize",)


class Split(Section):
    """Which rows train, which choose, and which are only reported on."""

    val_fraction: float = setting(0.1, "rows that choose the model", stages=SUBSET, ge=0, lt=1)
    test_fraction: float = setting(0.1, "rows that are reported on", stages=SUBSET, ge=0, lt=1)
    group_by: str | None = setting(
        None, "label dataset whose groups go whole to one side", stages=SUBSET
    )
    column: str | None = setting(
        None,
        "dataset with a published split: 0 train, 1 validation, 2 test, -1 none; "
        "replaces the others",
        stages=SUBSET,
    )

    @model_validator(mode="after")
    def _some_rows_train(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must be below 1: no row would train")
        return self


class FeatureCleaning(Section):
    """What is dropped and capped, decided on train rows."""

    max_missing_fraction: float = setting(
        0.5, "columns with more missing values are dropped", stages=NORMALIZE, ge=0, le=1
    )
    variance_tolerance: float = setting(
        1e-6,
        "columns whose deviation is at most this part of their magnitude are constant",
        stages=NORMALIZE,
        ge=0,
        lt=1,
    )
    deduplicate_threshold: float = setting(
        0.999999,
        "a column whose |correlation| with an earlier one is above this is dropped",
        stages=NORMALIZE,
        gt=0,
        le=1,
    )
    outlier_method: Literal["mad", "percentile", "none"] = setting(
        "mad", "mad, percentile or none", stages=NORMALIZE
    )
    outlier_bound: float = setting(
        5.0,
        "mad: robust deviations from the median; percentile: per cent cut at either end",
        stages=NORMALIZE,
        gt=0,
    )
    outliers: Literal["cap", "log"] = setting(
        "cap",
        "what becomes of a column's values beyond these bounds: cap (they are put there) or log "
        "(where they are 1 % or more, they go on as logarithms, and decode back)",
        stages=NORMALIZE,
    )

    @model_validator(mode="after")
    def _percentile_below_half(self) -> Self:
        if self.outlier_method == "percentile" and self.outlier_bound >= 50:
            raise ValueError("outlier_bound must be below 50 when outlier_method is percentile")
        return self
