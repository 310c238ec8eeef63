"""What the page's script is given: features, categories, operators and codes as plain values."""

import base64
from typing import Any

import numpy as np

from spinlock.analysis.evidence import ROUNDING, Evidence, Sample
from spinlock.analysis.meanings import code_meanings
from spinlock.features.split import SPLIT_NAMES
from spinlock.tokenizer.normalization.tails import log_units

OPERATOR_BYTES = 1_000_000  # that the operators may take in the page
Z_STEPS = 127  # from 0 to a feature's largest normalised value, which are sent as one byte each
TOKENS_EXPLAINED = 16  # per category: its most frequent coarse tokens
FEATURES_NAMED = 4


def page_data(evidence: Evidence) -> dict[str, Any]:
    """Return everything that the page's script draws and searches."""
    return {
        "levels": list(evidence.levels),
        "features": _features(evidence),
        "categories": _categories(evidence),
        "operators": _operators(evidence),
        "codes": _codes(evidence),
        "color_by": evidence.color_by,
    }


def _features(evidence: Evidence) -> list[dict[str, Any]]:
    category_of = np.empty(len(evidence.names), int)
    for c, members in enumerate(evidence.categories.values()):
        category_of[members] = c
    statistics = evidence.tokenizer.statistics
    kept = statistics.kept
    center, scale = statistics.center[kept], statistics.scale[kept]
    low, high = statistics.log_below[kept], statistics.log_above[kept]
    logarithms = (low - center) / scale, (high - center) / scale, log_units(low, high) / scale
    center = np.where(np.abs(center) < ROUNDING * scale, 0.0, center)
    quality = evidence.reconstruction.by_feature
    return [
        {
            "name": name,
            "family": family,
            "category": int(category_of[i]),
            "center": _rounded(center[i]),
            "scale": _rounded(scale[i]),
            "log_beyond": (
                [_rounded(one[i]) for one in logarithms] if np.isfinite(low[i]) else None
            ),
            "quality": [_finite(value) for value in quality[:, i]],
        }
        for i, (name, family) in enumerate(
            zip(evidence.short_names, evidence.families, strict=True)
        )
    ]


def _categories(evidence: Evidence) -> list[dict[str, Any]]:
    sample, sizes = evidence.sample, evidence.tokenizer.codebook_sizes
    listed = []
    for c, (name, members) in enumerate(evidence.categories.items()):
        meanings = code_meanings(
            sample.x, sample.tokens[:, c, 0], members, FEATURES_NAMED, n_codes=TOKENS_EXPLAINED
        )
        tokens = [
            {
                "code": one.code,
                "share": one.count / len(sample),
                "features": one.features.tolist(),
                "deviation": _decimals(one.deviation, 2),
                "operators": sample.ids[one.operators].tolist(),
            }
            for one in meanings
        ]
        listed.append(
            {
                "name": name,
                "members": members.tolist(),
                "sizes": sizes[c].tolist(),
                "tokens": tokens,
            }
        )
    return listed


def _operators(evidence: Evidence) -> dict[str, Any]:
    sample = evidence.sample
    shown = _shown_operators(sample)
    step = np.maximum(np.abs(sample.x[shown]).max(axis=0), 1e-6) / Z_STEPS
    tokens = sample.tokens[shown]
    labels = {}
    for name, values in sample.labels.items():
        kinds, index = np.unique(values[shown], return_inverse=True)
        labels[name] = {"kinds": [str(kind) for kind in kinds], "index": index.tolist()}
    split = sample.split[shown]
    return {
        "of": len(sample),
        "ids": sample.ids[shown].tolist(),
        "split": [SPLIT_NAMES[side] for side in split],
        "labels": labels,
        "maps": _positions(evidence.operator_maps, shown),
        "z": _packed(np.round(sample.x[shown] / step).astype(np.int8)),
        "z_step": [_rounded(one) for one in step],
        "tokens": _packed(tokens.astype("<u2")),
    }


def _shown_operators(sample: Sample) -> np.ndarray:
    """Return evenly spaced operators, as many as the page has room for."""
    each = 4 / 3 * (sample.x.shape[1] + 2 * sample.tokens[0].size) + 40 + 20 * len(sample.labels)
    room = int(OPERATOR_BYTES / each)
    if len(sample) <= room:
        return np.arange(len(sample))
    return np.unique(np.linspace(0, len(sample) - 1, max(room, 1)).astype(int))


def _codes(evidence: Evidence) -> dict[str, Any]:
    codes = evidence.code_maps
    return {
        "maps": _positions(codes.maps, np.arange(len(codes.code))),
        "category": codes.category.tolist(),
        "level": codes.level.tolist(),
        "code": codes.code.tolist(),
        "count": codes.count.tolist(),
        "features": codes.features.tolist(),
        "change": _decimals(codes.change, 2),
    }


def _positions(maps: Any, rows: np.ndarray) -> dict[str, Any]:
    return {name: _decimals(at[rows].T, 3) for name, at in maps.items()}


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _decimals(values: np.ndarray, decimals: int) -> list[Any]:
    return np.round(values.astype(np.float64), decimals).tolist()


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _finite(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
