"""Which figures there are, in what order, and what each one says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from spinlock.analysis.evidence import Evidence
from spinlock.analysis.figures import (
    categories,
    codebooks,
    nearest,
    projections,
    reconstruction,
    training,
)
from spinlock.analysis.meanings import code_meanings, typical_features

QUALITY_TARGET = 0.90
COSINE_TARGET = 0.25
REFERENCE = "gaussian_reference"
MOST_LABELS = 3  # rows of panels in the map by labels
LEAST_OPERATORS = 5  # that a token needs before it is worth showing
N_TOKENS = 6

# a drawing function says in words why there is nothing to draw
Drawing = Callable[[Evidence], Figure | str]


@dataclass(frozen=True)
class Exhibit:
    """A figure of the report.

    Attributes
    ----------
    name : str
        Of the files, figures/<name>.svg and .png.
    section : str
        Of the report.
    title : str
    question : str
        What it answers, and how to read it.
    draw : callable
        Gives the figure, or the reason why there is none.
    """

    name: str
    section: str
    title: str
    question: str
    draw: Drawing


def _silhouette(evidence: Evidence) -> Figure | str:
    candidates = evidence.clustering.candidates
    if len(candidates["num_categories"]) < 2:
        return "the number of categories was given, so there was nothing to choose from"
    return categories.silhouette_figure(
        candidates["num_categories"],
        candidates["silhouette"],
        candidates["mean_abs_cosine"],
        len(evidence.categories),
        evidence.orthogonality_target,
    )


def _correlation(evidence: Evidence) -> Figure | str:
    clustering = evidence.clustering
    if len(clustering.correlation) < 2:
        return "there is one feature"
    return categories.correlation_figure(
        clustering.correlation, evidence.categories, clustering.tree
    )


def _composition(evidence: Evidence) -> Figure | str:
    members = list(evidence.categories.values())
    typical = typical_features(evidence.clustering.correlation, members)
    names = [[evidence.short_names[i] for i in columns] for columns in typical]
    return categories.composition_figure(evidence.families, evidence.categories, names)


def _cosine(evidence: Evidence) -> Figure | str:
    if len(evidence.categories) < 2:
        return "there is one category"
    return categories.cosine_figure(
        evidence.reconstruction.cosines, list(evidence.categories), COSINE_TARGET
    )


def _training(evidence: Evidence) -> Figure | str:
    if not evidence.tokenizer.history:
        return "the model has no training history"
    return training.training_figure(evidence.tokenizer.history, evidence.levels)


def _codebook_use(evidence: Evidence) -> Figure | str:
    return codebooks.codebook_use_figure(
        evidence.counts, list(evidence.categories), evidence.levels
    )


def _code_frequency(evidence: Evidence) -> Figure | str:
    return codebooks.code_frequency_figure(evidence.counts, evidence.levels)


def _code_map(evidence: Evidence) -> Figure | str:
    codes = evidence.code_maps
    if not codes.maps:
        return f"only {len(codes.code)} codes are used"
    return projections.code_map_figure(
        codes.maps, codes.category, codes.level, list(evidence.categories)
    )


def _label_map(evidence: Evidence) -> Figure | str:
    if not evidence.operator_maps:
        return f"there are only {len(evidence.sample)} operators"
    labels = telling_labels(evidence)
    if not labels:
        return "the dataset has no label with a handful of values"
    return projections.label_map_figure(evidence.operator_maps, labels)


def _value_map(evidence: Evidence) -> Figure | str:
    if not evidence.operator_maps:
        return f"there are only {len(evidence.sample)} operators"
    column = np.array([evidence.color_by])
    values = evidence.in_units(evidence.sample.x[:, column], column)[:, 0]
    return projections.value_map_figure(
        evidence.operator_maps, values, evidence.names[evidence.color_by]
    )


def _feature_quality(evidence: Evidence) -> Figure | str:
    return reconstruction.feature_quality_figure(
        evidence.reconstruction.by_feature[-1], evidence.names, evidence.families, QUALITY_TARGET
    )


def _rate_distortion(evidence: Evidence) -> Figure | str:
    bits = np.cumsum(np.log2(evidence.tokenizer.codebook_sizes).sum(axis=0))
    return reconstruction.rate_distortion_figure(
        bits,
        evidence.reconstruction.by_level,
        evidence.levels,
        evidence.baselines,
        REFERENCE,
        QUALITY_TARGET,
    )


def _distances(evidence: Evidence) -> Figure | str:
    rows, codes = evidence.reconstruction.between_rows, evidence.reconstruction.between_codes
    if len(rows) < 2 or rows.std() == 0 or codes.std() == 0:
        return "there are too few different operators to compare distances"
    return reconstruction.distance_figure(rows, codes)


def _tokens(evidence: Evidence) -> Figure | str:
    panels = telling_tokens(evidence)
    if not panels:
        return f"no token is shared by {LEAST_OPERATORS} operators"
    return nearest.token_figure(panels)


def telling_labels(evidence: Evidence) -> dict[str, np.ndarray]:
    """Return the labels of the sample that sort operators into a few kinds."""
    labels = evidence.sample.labels
    few = [
        name
        for name, values in labels.items()
        if 2 <= len(np.unique(values)) <= 2 * projections.MOST_KINDS
    ]
    return {name: labels[name] for name in few[:MOST_LABELS]}


def telling_tokens(evidence: Evidence) -> Sequence[nearest.TokenPanel]:
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
        panel = nearest.TokenPanel(
            title=f"{category} · {evidence.levels[0]} {strongest.code} · {share:.1%} of operators",
            features=[evidence.short_names[i] for i in columns],
            deviation=strongest.deviation,
            values=evidence.in_units(own[:, columns].mean(axis=0), columns),
            usual=evidence.in_units(sample.x[:, columns].mean(axis=0), columns),
            operators=sample.ids[strongest.operators].tolist(),
        )
        panels.append((strongest.strength, panel))
    panels.sort(key=lambda one: -one[0])
    return [panel for _, panel in panels[:N_TOKENS]]


EXHIBITS = (
    Exhibit(
        "rate_distortion",
        "Quality",
        "Quality at a price",
        "How much of the features do the tokens keep for their bits, and would another quantiser "
        "do better? Spinlock's line grows by one level per point; the others are fitted on the "
        "same train rows and measured on the same test rows. The Gaussian reference is reverse "
        "water-filling on the train covariance.",
        _rate_distortion,
    ),
    Exhibit(
        "feature_quality",
        "Quality",
        "Which features come back",
        "R² of every feature on rows that took no part in training, and the ten that are kept "
        "worst, by name.",
        _feature_quality,
    ),
    Exhibit(
        "distances",
        "Quality",
        "Do near operators get near codes?",
        "Distances between pairs of operators, in features and in code vectors. A tight rising "
        "band means that neighbours stay neighbours.",
        _distances,
    ),
    Exhibit(
        "silhouette",
        "Categories",
        "Why this many categories",
        "Silhouette of the clustering and the mean |cosine| between category centroids on train "
        "rows, for every number of categories that was tried; the ring marks the choice.",
        _silhouette,
    ),
    Exhibit(
        "correlation",
        "Categories",
        "Do the categories follow the data?",
        "Rank correlation of all features, sorted by the merge tree; categories are outlined. "
        "Strong blocks inside the outlines and pale cells outside mean that the split is real.",
        _correlation,
    ),
    Exhibit(
        "composition",
        "Categories",
        "What the categories are made of",
        "How many features of each family a category holds, and the three that correlate best "
        "with the rest of it.",
        _composition,
    ),
    Exhibit(
        "category_cosines",
        "Categories",
        "Do categories say different things?",
        "|cosine| between the centroids of all pairs of categories; dark is independent.",
        _cosine,
    ),
    Exhibit(
        "codebook_use",
        "Codes",
        "Are the codebooks used?",
        "Codes that occur at least once, and perplexity (the number of codes that would be as "
        "surprising if all were equally frequent), over all encoded operators.",
        _codebook_use,
    ),
    Exhibit(
        "code_frequency",
        "Codes",
        "Are a few codes doing all the work?",
        "Share of operators by rank of the code, one line per codebook. A flat line spends its "
        "bits evenly; a line that plunges wastes them.",
        _code_frequency,
    ),
    Exhibit(
        "token_meanings",
        "Codes",
        "What a token means",
        "For the categories with the most outspoken coarse token: the features in which its "
        "operators deviate most from the usual, in standard deviations, the values in original "
        "units, and the operators that show it best.",
        _tokens,
    ),
    Exhibit(
        "code_map",
        "Codes",
        "How the codes lie",
        "Every code by what it changes in the decoded features, coloured by category; coarse "
        "codes are drawn larger than fine ones.",
        _code_map,
    ),
    Exhibit(
        "operator_map_labels",
        "Operators",
        "Do tokens know what kind an operator is?",
        "Operators by their code vectors, coloured by labels that the tokenizer never saw.",
        _label_map,
    ),
    Exhibit(
        "operator_map_feature",
        "Operators",
        "One feature over the map",
        "The same map, coloured by one feature in original units (visualization.color_by; by "
        "default the feature that varies most along the first principal component).",
        _value_map,
    ),
    Exhibit(
        "training",
        "Training",
        "How training went",
        "Every loss term, epoch by epoch; the dotted line is the model that was kept. Epoch 0 is "
        "the start from data, before any gradient step.",
        _training,
    ),
)
