"""Every number of metrics.json is of the rows, the levels and the mean that it says."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import entropy

from spinlock.analysis import metrics
from spinlock.analysis.evaluation import compare_with_targets, measure
from spinlock.analysis.rows import pair_rows
from spinlock.features.split import TEST, TRAIN, VALIDATION
from spinlock.tokenizer import target_metrics

N_PAIR_ROWS = 120
REACHED = {"quality": 0.95, "utilization": 0.3, "orthogonality": 0.1, "topographic": 0.7}


@pytest.fixture(scope="module")
def measured(tokenizer, rows):
    return measure(tokenizer, rows, N_PAIR_ROWS)


@pytest.fixture(scope="module")
def r2_by_level(tokenizer, rows, held_out):
    """Return a function that gives level → R² of columns of the test rows, from its definition."""
    x, mean = rows.x[held_out].astype(np.float64), tokenizer.statistics.normalized_mean

    def r2(columns=slice(None)):
        total = ((x - mean)[:, columns] ** 2).sum()
        decoded = [tokenizer.reconstruct(rows.tokens[held_out], n) for n in (1, 2, 3)]
        errors = [((x - one)[:, columns] ** 2).sum() for one in decoded]
        values = [1 - error / total for error in errors]
        return pytest.approx(dict(zip(("coarse", "medium", "fine"), values, strict=True)), abs=1e-6)

    return r2


def test_rows_are_counted_by_side_and_by_what_is_measured_on_them(
    tokenizer, rows, known, held_out, monkeypatch
):
    monkeypatch.setattr(metrics, "DEPENDENCE_ROWS", 100)
    assert measure(tokenizer, rows, N_PAIR_ROWS)["rows"] == {
        "train": len(known),
        "validation": len(rows.x) - len(known) - len(held_out),
        "test": len(held_out),
        "measured_on": "test",
        "pairs_of": N_PAIR_ROWS,
        "dependence_of": 100,
        "utilization_of": len(rows.x),
    }


def test_quality_is_that_of_test_rows_at_each_level_about_the_train_mean(measured, r2_by_level):
    assert measured["quality_by_level"] == r2_by_level()
    assert measured["quality"] == measured["quality_by_level"]["fine"]


def test_quality_of_categories_and_families_is_that_of_their_columns(
    tokenizer, measured, r2_by_level
):
    families = [tokenizer.columns[i].family for i in tokenizer.kept]
    assert set(measured["quality_by_family"]) == set(families)
    for family, found in measured["quality_by_family"].items():
        assert found == r2_by_level([i for i, own in enumerate(families) if own == family])
    for category, columns in tokenizer.categories.items():
        assert measured["quality_by_category"][category] == r2_by_level(columns)


def test_quality_before_caps_is_of_the_values_with_what_caps_take(
    tokenizer, rows, held_out, measured
):
    beyond = rows.beyond.toarray()
    whole = rows.x[held_out] + beyond
    mean = tokenizer.statistics.normalized_mean
    decoded = tokenizer.reconstruct(rows.tokens[held_out])
    r2 = 1 - ((whole - decoded) ** 2).sum(axis=0) / ((whole - mean) ** 2).sum(axis=0)
    found = measured["quality_before_caps"]
    assert found["median"] == pytest.approx(np.median(r2), abs=1e-6)
    assert found["minimum"] == pytest.approx(r2.min(), abs=1e-6)
    assert found["pooled"] == pytest.approx(target_metrics.quality(whole, decoded, mean))
    assert found["capped_share"] == pytest.approx((beyond != 0).mean())
    assert found["median"] != measured["quality_by_feature"]["median"]


def test_quality_of_features_is_that_of_all_levels(tokenizer, rows, held_out, measured):
    assert measured["quality_by_feature"] == metrics.quality_by_feature(
        rows.x[held_out],
        tokenizer.reconstruct(rows.tokens[held_out]),
        tokenizer.statistics.normalized_mean,
        tokenizer.kept_names,
    )


def test_codes_in_use_are_counted_over_all_rows_and_over_the_test_rows(
    tokenizer, rows, held_out, measured
):
    sizes, of_test = tokenizer.codebook_sizes, measured["utilization_test"]
    books = list(np.ndindex(*sizes.shape))
    for tokens, found in (
        (rows.tokens, measured["utilization"]),
        (rows.tokens[held_out], of_test["value"]),
    ):
        used = [len(np.unique(tokens[:, c, level])) / sizes[c, level] for c, level in books]
        assert found == pytest.approx(np.mean(used))
    assert of_test["value"] < measured["utilization"]
    assert of_test["reachable"] == pytest.approx(np.mean(1 - (1 - 1 / sizes) ** len(held_out)))


def test_every_book_is_told_by_the_codes_of_all_rows(tokenizer, rows, measured):
    names, levels = list(tokenizer.categories), ("coarse", "medium", "fine")
    for (c, level), size in np.ndenumerate(tokenizer.codebook_sizes):
        counts = np.bincount(rows.tokens[:, c, level])
        assert measured["books"][names[c]][levels[level]] == {
            "codes": size,
            "used": np.count_nonzero(counts) / size,
            "perplexity": pytest.approx(np.exp(entropy(counts))),
        }


def test_bits_are_those_of_the_books_and_those_that_their_codes_hold(tokenizer, rows, measured):
    codes = rows.tokens.reshape(len(rows.x), -1).T
    held = sum(entropy(np.bincount(book), base=2) for book in codes)
    assert measured["bits"] == {
        "nominal": 19,
        "entropy": pytest.approx(held),
        "by_level": {"coarse": 10, "medium": 5, "fine": 4},
    }


def test_altered_rows_are_counted_on_their_side(rows, measured):
    altered = {"imputed": rows.altered.imputed_rows, "capped": rows.altered.capped_rows}
    for what, of_rows in altered.items():
        counts = [int(of_rows[rows.split == side].sum()) for side in (TRAIN, VALIDATION, TEST)]
        found = measured["cleaning"][f"rows_with_{what}_cells"]
        assert found == dict(zip(("train", "validation", "test"), counts, strict=True))


def test_categories_are_compared_on_the_test_rows(tokenizer, rows, held_out, measured):
    between = target_metrics.orthogonality(rows.x[held_out], list(tokenizer.categories.values()))
    assert measured["orthogonality"] == between["mean"]
    assert measured["orthogonality_maximum"] == between["maximum"]


def test_distances_are_compared_at_the_levels_that_they_say(tokenizer, rows, measured):
    chosen = pair_rows(rows.split, N_PAIR_ROWS)
    x, embed = rows.x[chosen], partial(tokenizer.embed, rows.tokens[chosen])
    flat = [embed(n).reshape(len(chosen), -1) for n in (1, 2, 3)]
    near = [target_metrics.topographic(x, codes) for codes in flat]
    assert len(set(near)) == 3
    assert list(measured["topographic_by_level"].values()) == near
    assert measured["topographic"] == near[2]
    assert measured["code_dependence"] == metrics.code_dependence(embed(3))
    assert measured["trustworthiness"] == metrics.neighbourhood_trust(x, flat[2])


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"quality": 0.9}, ["quality"]),
        ({"quality": 0.1, "topographic": -0.2}, ["quality", "topographic"]),
        ({"orthogonality": 0.25}, ["orthogonality"]),
        ({"orthogonality": 0.9}, ["orthogonality"]),
        ({"utilization": None}, ["utilization"]),
    ],
)
def test_a_target_is_met_above_its_limit_or_below_where_it_says_so(change, missed):
    targets = compare_with_targets(REACHED | change)
    assert [one["name"] for one in targets if not one["met"]] == missed


def test_the_targets_are_compared_with_what_was_measured(measured):
    reached = {one["name"]: one["value"] for one in measured["targets"]}
    assert reached == {name: measured[name] for name in REACHED}
