from dataclasses import replace

import numpy as np
import pytest

from spinlock.analysis.figures.catalog import EXHIBITS
from spinlock.analysis.report.page import Shown
from spinlock.analysis.report.wording import describe
from spinlock.tokenizer.normalization.statistics import Reason

NOTHING = {exhibit.name: Shown(exhibit.name, exhibit.title, "") for exhibit in EXHIBITS}


def test_the_lead_counts_what_there_is(described, tiny_evidence):
    assert described.lead == (
        "90 operators, 12 features in 3 categories, 3 levels of tokens, 19 bits per operator."
    )
    tiny = describe(tiny_evidence, np.zeros(1, int), NOTHING)
    assert tiny.lead.startswith("1 operator, 1 feature in 1 category, 3 levels")


def test_targets_say_what_was_reached_and_whether_that_is_enough(described):
    quality, orthogonality = described.targets
    assert (quality.value, quality.goal, quality.met) == ("0.930", "> 0.90", True)
    assert (orthogonality.value, orthogonality.goal, orthogonality.met) == (
        "0.300",
        "< 0.25",
        False,
    )


@pytest.mark.parametrize(("value", "shown"), [(None, "undefined"), (-0.5, "−0.500")])
def test_values_that_are_undefined_or_negative_can_be_read(evidence, value, shown):
    target = {
        "name": "topographic", "value": value, "target": 0.6, "below": False, "met": False
    }  # fmt: skip
    metrics = evidence.metrics | {"targets": [target]}
    page = describe(replace(evidence, metrics=metrics), np.zeros(1, int), NOTHING)
    assert page.targets[0].value == shown


def test_every_exhibit_stands_in_its_section_in_order(described):
    listed = [
        (section.name, shown.name) for section in described.sections for shown in section.figures
    ]
    assert listed == [(exhibit.section, exhibit.name) for exhibit in EXHIBITS]


def test_cleaning_is_told_in_numbers_and_names(described, evidence):
    facts = dict(described.cleaning)
    assert (facts["train rows"], facts["validation rows"], facts["test rows"]) == ("50", "25", "15")
    assert facts["features kept"] == "12"
    assert facts["train values imputed"] == "29"
    assert facts["train values capped"] == f"{evidence.tokenizer.statistics.capped.sum():,}"
    assert described.altered == [("b", 0, 40), (evidence.names[0], 30, 1), ("c", 2, 0)]


@pytest.mark.parametrize(
    ("fitted", "told"), [({"baselines_of": 20}, True), ({"baselines_of": 50}, False), ({}, False)]
)
def test_train_rows_that_baselines_did_without_are_told(evidence, fitted, told):
    metrics = evidence.metrics | {"rows": {"train": 50} | fitted}
    page = describe(replace(evidence, metrics=metrics), np.zeros(1, int), NOTHING)
    assert ("fitted to 20 of the 50 train rows" in page.remarks) == told


def test_rows_that_were_left_out_or_changed_are_told(evidence):
    account = {
        "rows_beyond_max_samples": 1200,
        "rows_on_no_side_of_the_split": 3,
        "rows_with_imputed_cells": {"train": 5, "validation": 0, "test": 1},
        "rows_with_capped_cells": {"train": 2, "validation": 4, "test": 6},
        "filled_cells": {"temporal": 7},
    }
    metrics = evidence.metrics | {"cleaning": account}
    page = describe(replace(evidence, metrics=metrics), np.zeros(1, int), NOTHING)
    facts = dict(page.cleaning)
    assert facts["rows beyond max_samples, left out"] == "1,200"
    assert facts["rows on no side of the split, left out"] == "3"
    assert facts["values of temporal that were not numbers, filled"] == "7"
    for what in ("imputed", "capped"):
        for side, count in account[f"rows_with_{what}_cells"].items():
            assert facts[f"{side} rows with {what} values"] == str(count)


def test_the_rows_of_figures_and_a_feature_that_decides_them_are_told(described, evidence):
    rows = "Figures of quality are measured on 45 test rows."
    assert described.remarks == rows
    by_feature = {"heaviest": {"feature": "summary/x", "share": 0.9}, "worst": [{}, {}, {}]}
    metrics = evidence.metrics | {"quality_by_feature": by_feature}
    page = describe(replace(evidence, metrics=metrics), np.zeros(1, int), NOTHING)
    assert page.remarks == f"{rows} summary/x alone has 90% of their variance."


def test_what_caps_hide_is_told(evidence):
    before = {"percentile_10": 0.4, "capped_share": 0.123}
    metrics = evidence.metrics | {
        "quality_by_feature": {"percentile_10": 0.9},
        "quality_before_caps": before,
    }
    page = describe(replace(evidence, metrics=metrics), np.zeros(1, int), NOTHING)
    assert "Cleaning caps 12.3% of the values" in page.remarks
    assert "have R² below 0.900, and below 0.400 against the values before." in page.remarks


def test_dropped_features_are_named_with_the_reason(evidence):
    statistics = evidence.tokenizer.statistics
    reason = statistics.reason.copy()
    reason[[3, 5]] = Reason.DUPLICATE, Reason.MISSING
    twin = statistics.twin.copy()
    twin[3] = 0
    changed = replace(statistics, reason=reason, twin=twin)
    checkpoint = replace(evidence.tokenizer._checkpoint, statistics=changed)
    page = describe(
        replace(evidence, tokenizer=type(evidence.tokenizer)(checkpoint)), np.zeros(1, int), NOTHING
    )
    assert page.dropped == [
        ("initial/constant", "constant"),
        # the fourth column of the dataset, whose first it repeats
        (evidence.names[2], f"repeats {evidence.names[0]}"),
        (evidence.names[4], "mostly missing"),
    ]


PROBE = {
    "column": "metadata/kind",
    "majority": 0.25,
    "logistic": {"features": 0.9, "tokens": 0.8, "faiss_rq": 0.7},
    "nearest": {"features": 0.6, "tokens": 0.5, "faiss_rq": 0.4},
}
MEASURED = {"measured_on": "test", "train": 50, "test": 1500}


def test_a_probe_is_shown_beside_features_chance_and_its_rows(evidence, described):
    assert described.probe is None
    metrics = evidence.metrics | {"probe": PROBE, "rows": MEASURED}
    page = describe(replace(evidence, metrics=metrics), np.zeros(1, int), NOTHING)
    assert page.probe.predictors == ["logistic regression", "nearest train row"]
    assert [values for _, values in page.probe.accuracies] == [
        ["0.900", "0.600"],
        ["0.800", "0.500"],
        ["0.700", "0.400"],
    ]
    assert [name.split()[0].strip(":,") for name, _ in page.probe.accuracies] == [
        "features",
        "tokens",
        "what",
    ]
    assert "1,500 test rows whose metadata/kind" in page.probe.summary
    assert page.probe.summary.endswith("gives 0.250.")


def test_a_probe_that_could_not_learn_says_so(evidence):
    probe = {"column": "one", "majority": 1.0}
    metrics = evidence.metrics | {"probe": probe, "rows": MEASURED}
    page = describe(replace(evidence, metrics=metrics), np.zeros(1, int), NOTHING)
    assert not page.probe.accuracies
    assert page.probe.summary.endswith(
        "There is nothing to learn: one label, or hardly two rows of any."
    )


def test_provenance_is_flat(described):
    assert ("spinlock", "0.1.0") in described.provenance
    assert [name for name, _ in described.provenance] == ["spinlock", "libraries: torch"]
