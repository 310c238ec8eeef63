"""What the page says in words and numbers about the experiment and its data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spinlock.analysis.evidence import Evidence
from spinlock.analysis.figures.catalog import EXHIBITS
from spinlock.analysis.metrics import dominant_feature, hidden_by_caps
from spinlock.analysis.report.page import Page, Probe, Section, Shown, Target
from spinlock.features.split import SPLIT_NAMES
from spinlock.tokenizer.normalization.statistics import FeatureStatistics, Reason

WHY_DROPPED = {
    Reason.MISSING: "mostly missing",
    Reason.CONSTANT: "constant",
    Reason.NEARLY_CONSTANT: "varies by less than variance_tolerance",
    Reason.DUPLICATE: "repeats an earlier feature",
}
PREDICTORS = {"logistic": "logistic regression", "nearest": "nearest train row"}
PREDICTED_FROM = {
    "features": "features, normalised",
    "tokens": "tokens: their code vectors",
    "faiss_rq": "what faiss's residual quantizer decodes at the same bits",
}
LEFT_OUT = {
    "rows_beyond_max_samples": "rows beyond max_samples",
    "rows_on_no_side_of_the_split": "rows on no side of the split",
}


def describe(evidence: Evidence, split: np.ndarray, shown: Mapping[str, Shown]) -> Page:
    """Return the page of an experiment.

    Parameters
    ----------
    evidence : Evidence
    split : int array [n]
        Side of every row of the subset.
    shown : mapping
        Name of each exhibit → its figure.
    """
    tokenizer, measured = evidence.tokenizer, evidence.reconstruction
    account = evidence.metrics["cleaning"]
    n_rows, n_categories = len(split), len(evidence.categories)
    return Page(
        experiment=evidence.experiment,
        lead=f"{_count(n_rows, 'operator')}, {_count(len(evidence.names), 'feature')} in "
        f"{_count(n_categories, 'category', 'categories')}, {len(evidence.levels)} levels of "
        f"tokens, {tokenizer.bits:.0f} bits per operator.",
        targets=[_target(one) for one in evidence.metrics["targets"]],
        remarks=f"Figures of quality are measured on {measured.n_rows:,} {measured.rows} rows."
        + _dominant(evidence.metrics)
        + _capped(evidence.metrics)
        + _fitted(evidence.metrics["rows"]),
        probe=_probe(evidence.metrics),
        sections=_sections(shown),
        cleaning=_cleaning(tokenizer.statistics, split, account),
        provenance=list(_flattened(tokenizer.provenance)),
        dropped=_dropped(evidence, tokenizer.statistics),
        altered=_altered(account),
    )


def _dominant(metrics: Mapping[str, Any]) -> str:
    """Return a sentence on the feature that decides the pooled quality, where one does."""
    heaviest = dominant_feature(metrics["quality_by_feature"])
    if not heaviest:
        return ""
    return f" {heaviest['feature']} alone has {heaviest['share']:.0%} of their variance."


def _capped(metrics: Mapping[str, Any]) -> str:
    """Return a sentence on what caps hide of the features, where that is much."""
    hidden = hidden_by_caps(metrics)
    if not hidden:
        return ""
    share = metrics["quality_before_caps"]["capped_share"]
    return (
        f" Cleaning caps {share:.1%} of the values: a tenth of the features have R² below "
        f"{hidden[0]:.3f}, and below {hidden[1]:.3f} against the values before."
    )


def _fitted(rows: Mapping[str, Any]) -> str:
    """Return a sentence on the train rows that baselines did without, where they did."""
    fitted, train = rows.get("baselines_of"), rows["train"]
    if fitted is None or fitted == train:
        return ""
    return f" Other quantisers are fitted to {fitted:,} of the {train:,} train rows."


def _target(entry: Mapping[str, Any]) -> Target:
    sign = "<" if entry["below"] else ">"
    reached = entry["value"]
    value = "undefined" if reached is None else f"{reached:.3f}".replace("-", "−")
    return Target(str(entry["name"]), value, f"{sign} {entry['target']:.2f}", bool(entry["met"]))


def _probe(metrics: Mapping[str, Any]) -> Probe | None:
    """Return how well tokens predict a label, beside features; None where no label was asked."""
    found = metrics.get("probe")
    if not found:
        return None
    side = metrics["rows"]["measured_on"]
    fitted = [key for key in PREDICTORS if key in found]
    verdict = "" if fitted else " There is nothing to learn: one label, or hardly two rows of any."
    return Probe(
        summary=f"Share of the {metrics['rows'][side]:,} {side} rows whose {found['column']} is "
        "predicted rightly, by predictors fitted to train rows. Always to say the commonest label "
        f"of these gives {found['majority']:.3f}.{verdict}",
        predictors=[PREDICTORS[key] for key in fitted],
        accuracies=[
            (what, [f"{found[key][kind]:.3f}" for key in fitted])
            for kind, what in PREDICTED_FROM.items()
            if fitted
        ],
    )


def _sections(shown: Mapping[str, Shown]) -> list[Section]:
    names = dict.fromkeys(exhibit.section for exhibit in EXHIBITS)
    return [
        Section(name, [shown[exhibit.name] for exhibit in EXHIBITS if exhibit.section == name])
        for name in names
    ]


def _cleaning(
    statistics: FeatureStatistics, split: np.ndarray, account: Mapping[str, Any]
) -> list[tuple[str, str]]:
    summary = statistics.summary()
    sides = np.bincount(split, minlength=len(SPLIT_NAMES))
    rows = [(f"{name} rows", f"{n:,}") for name, n in zip(SPLIT_NAMES, sides, strict=True)]
    kept = [("features kept", f"{summary['kept']:,}")]
    dropped = [
        (f"dropped, {why}", f"{summary[reason.label]:,}") for reason, why in WHY_DROPPED.items()
    ]
    cells = [
        ("train values imputed", f"{summary['imputed_cells']:,}"),
        ("train values capped", f"{summary['capped_cells']:,}"),
    ]
    return rows + _rows_changed(account) + kept + dropped + cells + _filled(account)


def _rows_changed(account: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows that were left out, and those with imputed and capped values, by side."""
    left_out = [
        (f"{what}, left out", f"{account[key]:,}")
        for key, what in LEFT_OUT.items()
        if account.get(key)
    ]
    return left_out + [
        (f"{name} rows with {what} values", f"{count:,}")
        for what in ("imputed", "capped")
        for name, count in account.get(f"rows_with_{what}_cells", {}).items()
    ]


def _filled(account: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"values of {name} that were not numbers, filled", f"{count:,}")
        for name, count in account.get("filled_cells", {}).items()
    ]


def _dropped(evidence: Evidence, statistics: FeatureStatistics) -> list[tuple[str, str]]:
    names = [column.full_name for column in evidence.tokenizer.columns]
    why = [WHY_DROPPED.get(reason, "") for reason in statistics.reason]
    for i in np.flatnonzero(statistics.reason == Reason.DUPLICATE):
        why[i] = f"repeats {names[statistics.twin[i]]}"
    return [(names[i], why[i]) for i in np.flatnonzero(statistics.reason != Reason.KEPT)]


def _altered(account: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Return the imputed and the capped cells of each feature that has any, the most first."""
    imputed, capped = account.get("imputed_cells", {}), account.get("capped_cells", {})
    counts = [
        (name, imputed.get(name, 0), capped.get(name, 0))
        for name in dict.fromkeys([*imputed, *capped])
    ]
    return sorted(counts, key=lambda one: -one[1] - one[2])


def _flattened(entries: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in entries.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            flat += _flattened(value, f"{name}: ")
        else:
            flat.append((name, str(value)))
    return flat


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
