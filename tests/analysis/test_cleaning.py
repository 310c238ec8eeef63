"""The account of cleaning: whatever was dropped or changed, by its name and its side."""

from dataclasses import replace

import numpy as np
import pytest

from spinlock.analysis.cleaning import Altered, describe_cleaning
from spinlock.features.split import TEST, TRAIN, VALIDATION
from spinlock.tokenizer.normalization.statistics import Reason

SPLIT = np.array([TRAIN, TRAIN, TRAIN, VALIDATION, TEST])
IMPUTED = np.array([True, True, False, False, True])
CAPPED = np.array([False, True, False, True, False])


def counts(length: int, **at: int) -> np.ndarray:
    """Return zeros but for the numbers at the given positions, named `at_3` and so on."""
    made = np.zeros(length, int)
    for place, number in at.items():
        made[int(place.removeprefix("at_"))] = number
    return made


@pytest.fixture
def columns(evidence):
    """Thirteen columns, of which cleaning dropped the second."""
    return evidence.tokenizer.columns


@pytest.fixture
def account(evidence, columns):
    statistics = replace(
        evidence.tokenizer.statistics,
        imputed=counts(len(columns), at_0=3, at_5=2),
        capped=counts(len(columns), at_6=7),
    )
    altered = Altered(IMPUTED, counts(12, at_0=4, at_4=2), CAPPED, counts(12, at_5=9))
    return describe_cleaning(statistics, columns, altered, SPLIT, {"filled_cells": {"temporal": 3}})


def test_dropped_columns_are_named_under_their_reason(account):
    assert account["dropped"] == {
        Reason.MISSING.label: [],
        Reason.CONSTANT.label: ["initial/constant"],
        Reason.DUPLICATE.label: [],
        Reason.NEARLY_CONSTANT.label: [],
    }


def test_cells_are_counted_by_the_name_of_their_column(account, columns):
    names = [column.full_name for column in columns]
    assert account["imputed_train_cells"] == {names[0]: 3, names[5]: 2}
    assert account["capped_train_cells"] == {names[6]: 7}
    # a position among the kept columns, after the one that was dropped, is one less
    assert account["imputed_cells"] == {names[0]: 4, names[5]: 2}
    assert account["capped_cells"] == {names[6]: 9}


def test_rows_are_counted_by_side(account):
    assert account["rows_with_imputed_cells"] == {"train": 2, "validation": 0, "test": 1}
    assert account["rows_with_capped_cells"] == {"train": 1, "validation": 1, "test": 0}


def test_what_the_subset_noted_is_kept(account):
    assert account["filled_cells"] == {"temporal": 3}
