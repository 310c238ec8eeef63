"""Each figure from the evidence of an experiment, or in words why there is none."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from spinlock.analysis.baselines import METHOD_NAMES, REFERENCE
from spinlock.analysis.evidence import Evidence
from spinlock.analysis.figures import (
    categories,
    codebooks,
    projections,
    reconstruction,
    tokens,
    training,
)
from spinlock.analysis.meanings import code_meanings, typical_features

MOST_LABELS = 3  # rows of panels in the map by labels
LEAST_OPERATORS = 5  # that a token needs before it is worth showing
N_TOKENS = 6


def draw_silhouette(evidence: Evidence) -> Figure | str:
    """Draw the choice of the number of categories."""
    candidates = evidence.clustering.candidates
    if len(candidates["num_categories"]) < 2:
        return "there was one number of categories to choose from"
    return categories.silhouette_figure(
        candidates["num_categories"],
        candidates["silhouette"],
        candidates["mean_abs_cosine"],
        len(evidence.categories),
        evidence.orthogonality_target,
    )


def draw_correlation(evidence: Evidence) -> Figure | str:
    """Draw the sorted correlation of the features."""
    clustering = evidence.clustering
    if len(clustering.correlation) < 2:
        return "there is one feature"
    return categories.correlation_figure(
        clustering.correlation, evidence.categories, clustering.merge_tree
    )


def draw_composition(evidence: Evidence) -> Figure | str:
    """Draw what the categories are made of."""
    members = list(evidence.categories.values())
    typical = typical_features(evidence.clustering.correlation, members)
    names = [[evidence.short_names[i] for i in columns] for columns in typical]
    return categories.composition_figure(evidence.families, evidence.categories, names)


def draw_cosine(evidence: Evidence) -> Figure | str:
    """Draw the cosines between categories."""
    if len(evidence.categories) < 2:
        return "there is one category"
    if np.isnan(
        evidence.reconstruction.cosines[np.triu_indices(len(evidence.categories), 1)]
    ).all():
        return "nothing varies in the rows that quality is measured on"
    return categories.cosine_figure(
        evidence.reconstruction.cosines, list(evidence.categories), evidence.target("orthogonality")
    )


def draw_training(evidence: Evidence) -> Figure | str:
    """Draw the training curves."""
    if not any("train_loss" in entry for entry in evidence.tokenizer.history):
        return "no epoch was trained: the model is its start from data"
    return training.training_figure(evidence.tokenizer.history, evidence.levels)


def draw_codebook_use(evidence: Evidence) -> Figure | str:
    """Draw utilization and perplexity."""
    return codebooks.codebook_use_figure(
        evidence.counts, list(evidence.categories), evidence.levels
    )


def draw_code_frequency(evidence: Evidence) -> Figure | str:
    """Draw code frequencies by rank."""
    return codebooks.code_frequency_figure(evidence.counts, evidence.levels)


def draw_code_map(evidence: Evidence) -> Figure | str:
    """Draw the map of codes."""
    codes = evidence.code_maps
    if not codes.maps:
        return f"only {len(codes.code)} codes are used"
    return projections.code_map_figure(
        codes.maps, codes.category, codes.level, list(evidence.categories)
    )


def draw_label_map(evidence: Evidence) -> Figure | str:
    """Draw the map of operators by labels."""
    if not evidence.operator_maps:
        return f"there are only {len(evidence.sample)} operators"
    labels = telling_labels(evidence)
    if not labels:
        return "the dataset has no label with a handful of values"
    return projections.label_map_figure(evidence.operator_maps, labels)


def draw_value_map(evidence: Evidence) -> Figure | str:
    """Draw the map of operators by a feature."""
    if not evidence.operator_maps:
        return f"there are only {len(evidence.sample)} operators"
    column = np.array([evidence.color_by])
    values = evidence.in_units(evidence.sample.x[:, column], column)[:, 0]
    return projections.value_map_figure(
        evidence.operator_maps, values, evidence.names[evidence.color_by]
    )


def draw_feature_quality(evidence: Evidence) -> Figure | str:
    """Draw the R² of the features."""
    measured = evidence.reconstruction
    return reconstruction.feature_quality_figure(
        measured.by_feature[-1],
        evidence.names,
        evidence.families,
        evidence.target("quality"),
        measured.rows,
    )


def draw_rate_distortion(evidence: Evidence) -> Figure | str:
    """Draw R² against bits."""
    measured = evidence.baselines
    return reconstruction.rate_distortion_figure(
        evidence.tokenizer.bits_by_level.cumsum(),
        np.array(list(evidence.metrics["quality_by_level"].values()), float),
        evidence.levels,
        {name: measured[method] for method, name in METHOD_NAMES.items() if method in measured},
        METHOD_NAMES[REFERENCE],
        evidence.target("quality"),
        evidence.reconstruction.rows,
    )


def draw_distances(evidence: Evidence) -> Figure | str:
    """Draw distances of inputs against those of codes."""
    rows, codes = evidence.distances.between_rows, evidence.distances.between_codes
    if len(rows) < 2 or rows.std() == 0 or codes.std() == 0:
        return "there are too few different operators to compare distances"
    return reconstruction.distance_figure(rows, codes)


def draw_tokens(evidence: Evidence) -> Figure | str:
    """Draw what tokens mean."""
    panels = telling_tokens(evidence)
    if not panels:
        return f"no token is shared by {LEAST_OPERATORS} operators"
    return tokens.token_figure(panels)


def telling_labels(evidence: Evidence) -> dict[str, np.ndarray]:
    """Return the labels of the sample that sort operators into a few kinds."""
    labels = evidence.sample.labels
    few = [
        name
        for name, values in labels.items()
        if 2 <= len(np.unique(values)) <= 2 * projections.MOST_KINDS
    ]
    shown = few[:MOST_LABELS]
    last = [name.rsplit("/")[-1] for name in shown]
    names = last if len(set(last)) == len(last) else shown
    return {name: labels[path] for name, path in zip(names, shown, strict=True)}


def telling_tokens(evidence: Evidence) -> Sequence[tokens.TokenPanel]:
    """Return, for some categories, the coarse token that is furthest from the usual."""
    sample, panels = evidence.sample, []
    for c, (category, members) in enumerate(evidence.categories.items()):
        meanings = code_meanings(sample.x, sample.tokens[:, c, 0], members)
        shared = [one for one in meanings if one.count >= LEAST_OPERATORS]
        if not shared:
            continue
        strongest = max(shared, key=lambda one: one.strength)
        own = sample.x[sample.tokens[:, c, 0] == strongest.code]
        columns = strongest.features
        share = strongest.count / len(sample)
        panel = tokens.TokenPanel(
            title=f"{category} · {evidence.levels[0]} {strongest.code} · {share:.1%} of operators",
            features=[evidence.short_names[i] for i in columns],
            deviation=strongest.deviation,
            values=evidence.mean_in_units(own[:, columns], columns),
            usual=evidence.mean_in_units(sample.x[:, columns], columns),
            operators=sample.ids[strongest.operators].tolist(),
        )
        panels.append((strongest.strength, panel))
    panels.sort(key=lambda one: -one[0])
    return [panel for _, panel in panels[:N_TOKENS]]
