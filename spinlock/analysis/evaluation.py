"""The measurement of a model: all metrics of its rows."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from spinlock.analysis import metrics
from spinlock.analysis.cleaning import describe_cleaning
from spinlock.analysis.rows import RowsOfSplit, pair_rows
from spinlock.features.split import SPLIT_NAMES
from spinlock.tokenizer import target_metrics
from spinlock.tokenizer.tokenizer import Tokenizer

LESS_MEMORY = "lower evaluation.memory_budget, evaluation.max_pair_rows or max_samples"
# the seed's targets: the metric must be above, or below where `below` is true
TARGETS = (
    {"name": "quality", "target": 0.90, "below": False},
    {"name": "utilization", "target": 0.25, "below": False},
    {"name": "orthogonality", "target": 0.25, "below": True},
    {"name": "topographic", "target": 0.60, "below": False},
)


def measure(tokenizer: Tokenizer, rows: RowsOfSplit, max_pair_rows: int) -> dict[str, Any]:
    """Return all metrics of a model but its baselines (docs/metrics.md), the targets first.

    Parameters
    ----------
    tokenizer : Tokenizer
    rows : RowsOfSplit
        With the tokens that this tokenizer gave them.
    max_pair_rows : int
        Rows whose distances are compared, at most.
    """
    counts = target_metrics.code_counts(rows.tokens, tokenizer.codebook_sizes)
    pairs = pair_rows(rows.split, max_pair_rows)
    measured = (
        {"rows": _row_numbers(rows, len(pairs))}
        | _reconstruction(tokenizer, rows)
        | _books(tokenizer, rows, counts)
        | _orthogonality(tokenizer, rows)
        | _distances(tokenizer, rows, pairs)
        | {
            "bits": _bits(tokenizer, counts),
            "cleaning": describe_cleaning(
                tokenizer.statistics, tokenizer.columns, rows.altered, rows.split, rows.account
            ),
        }
    )
    return {"targets": compare_with_targets(measured)} | measured


def compare_with_targets(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the seed's targets with the values reached; what is undefined is not met."""
    table = []
    for target in TARGETS:
        value = measured[target["name"]]
        below, limit = target["below"], target["target"]
        met = value is not None and (value < limit if below else value > limit)
        table.append(target | {"value": value, "met": bool(met)})
    return table


def _row_numbers(rows: RowsOfSplit, n_pairs: int) -> dict[str, Any]:
    """Return how many rows there are, and how many each metric is measured on."""
    return {
        **{name: len(rows.of(side)) for side, name in enumerate(SPLIT_NAMES)},
        "measured_on": SPLIT_NAMES[rows.side],
        "pairs_of": n_pairs,
        "dependence_of": min(n_pairs, metrics.DEPENDENCE_ROWS),
        "utilization_of": len(rows.x),
    }


def _reconstruction(tokenizer: Tokenizer, rows: RowsOfSplit) -> dict[str, Any]:
    """Return the R² of the reported rows: by level, feature, family and category."""
    x, tokens = rows.x[rows.reported], rows.tokens[rows.reported]
    mean = tokenizer.statistics.normalized_mean
    decoded = {
        name: tokenizer.reconstruct(tokens, level + 1)
        for level, name in enumerate(tokenizer.levels)
    }
    whole = decoded[tokenizer.levels[-1]]
    by_group = partial(_quality_by_group, x, decoded, mean)
    names = tokenizer.kept_names
    return {
        "quality": target_metrics.quality(x, whole, mean),
        "values_digest": hashlib.sha256(x.tobytes()).hexdigest(),
        "quality_by_level": {
            level: target_metrics.quality(x, values, mean) for level, values in decoded.items()
        },
        "quality_by_feature": metrics.quality_by_feature(x, whole, mean, names),
        "quality_before_caps": _quality_before_caps(x + rows.beyond.toarray(), whole, mean, names)
        | {"capped_share": rows.beyond.nnz / max(x.size, 1)},
        "quality_by_family": by_group(_columns_of_families(tokenizer)),
        "quality_by_category": by_group(tokenizer.categories),
    }


def _quality_before_caps(
    uncapped: np.ndarray, decoded: np.ndarray, mean: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    pooled = target_metrics.quality(uncapped, decoded, mean)
    return {"pooled": pooled} | metrics.quality_by_feature(uncapped, decoded, mean, names)


def _quality_by_group(
    x: np.ndarray,
    decoded: Mapping[str, np.ndarray],
    mean: np.ndarray,
    groups: Mapping[str, np.ndarray],
) -> dict[str, dict[str, float | None]]:
    """Return group → level → R² of the group's columns when levels 0..l are decoded."""
    by_level = {
        level: metrics.quality_by_group(x, values, mean, groups)
        for level, values in decoded.items()
    }
    return {name: {level: found[name] for level, found in by_level.items()} for name in groups}


def _columns_of_families(tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """Return family → positions of its columns among the kept ones."""
    family = np.array([tokenizer.columns[i].family for i in tokenizer.kept])
    return {str(name): np.flatnonzero(family == name) for name in dict.fromkeys(family)}


def _books(
    tokenizer: Tokenizer, rows: RowsOfSplit, counts: list[list[np.ndarray]]
) -> dict[str, Any]:
    """Return how the codes of all books are used: by all rows, and by the reported ones."""
    sizes, tokens = tokenizer.codebook_sizes, rows.tokens[rows.reported]
    return {
        "utilization": target_metrics.utilization(counts),
        "utilization_test": {
            "value": target_metrics.utilization(target_metrics.code_counts(tokens, sizes)),
            "reachable": metrics.reachable_utilization(sizes, len(tokens)),
        },
        "books": metrics.book_table(counts, list(tokenizer.categories), tokenizer.levels),
    }


def _orthogonality(tokenizer: Tokenizer, rows: RowsOfSplit) -> dict[str, Any]:
    between = target_metrics.orthogonality(
        rows.x[rows.reported], list(tokenizer.categories.values())
    )
    return {"orthogonality": between["mean"], "orthogonality_maximum": between["maximum"]}


def _distances(tokenizer: Tokenizer, rows: RowsOfSplit, pairs: np.ndarray) -> dict[str, Any]:
    """Return what compares distances: between rows, between their codes, between categories."""
    x, levels = rows.x[pairs], tokenizer.levels
    embedded = [tokenizer.embed(rows.tokens[pairs], level + 1) for level in range(len(levels))]
    flat = [codes.reshape(len(pairs), -1) for codes in embedded]
    near = [target_metrics.topographic(x, codes) for codes in flat]
    return {
        "code_dependence": metrics.code_dependence(embedded[-1]),
        "topographic": near[-1],
        "topographic_by_level": dict(zip(levels, near, strict=True)),
        "trustworthiness": metrics.neighbourhood_trust(x, flat[-1]),
    }


def _bits(tokenizer: Tokenizer, counts: list[list[np.ndarray]]) -> dict[str, Any]:
    by_level = tokenizer.bits_by_level.tolist()
    return {
        "nominal": tokenizer.bits,
        "entropy": float(sum(metrics.entropy_bits(book) for books in counts for book in books)),
        "by_level": dict(zip(tokenizer.levels, by_level, strict=True)),
    }
