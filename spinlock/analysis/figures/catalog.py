"""Which figures there are, in what order, and what each one says."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from spinlock.analysis.evidence import Evidence
from spinlock.analysis.figures import drawings

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


EXHIBITS = (
    Exhibit(
        "rate_distortion",
        "Quality",
        "Quality at a price",
        "How much of the features do the tokens keep for their bits, and would another quantiser "
        "do better? Spinlock's line grows by one level per point; the others are fitted on the "
        "same train rows (on a random part of them, where evaluation.memory_budget says so) and "
        "measured on the same rows. The Gaussian reference is reverse "
        "water-filling on the train covariance.",
        drawings.draw_rate_distortion,
    ),
    Exhibit(
        "feature_quality",
        "Quality",
        "Which features come back",
        "R² of every feature, and the ten that are kept worst, by name.",
        drawings.draw_feature_quality,
    ),
    Exhibit(
        "distances",
        "Quality",
        "Do near operators get near codes?",
        "Distances between pairs of operators, in features and in code vectors. A tight rising "
        "band means that neighbours stay neighbours.",
        drawings.draw_distances,
    ),
    Exhibit(
        "operator_map_labels",
        "Operators",
        "Do tokens know what kind an operator is?",
        "Operators by their code vectors, coloured by labels of the dataset. Operators that "
        "diverged may stand together: what they lack is imputed alike.",
        drawings.draw_label_map,
    ),
    Exhibit(
        "operator_map_feature",
        "Operators",
        "One feature over the map",
        "The same map of operators, coloured by one feature in original units "
        "(visualization.color_by; by default the feature that varies most along the first "
        "principal component).",
        drawings.draw_value_map,
    ),
    Exhibit(
        "silhouette",
        "Categories",
        "Why this many categories",
        "Silhouette of the clustering and the mean |cosine| between category centroids on train "
        "rows, for every number of categories that was tried; the ring marks the one that was "
        "taken. Unless training.num_categories_auto says otherwise, it has the highest silhouette "
        "of those not above the dashed line (training.orthogonality_target), or the lowest "
        "|cosine| where all are above it. With automatic books only numbers that suit model.bits "
        "count: fewer categories could not hold the bits, or not those that some of them want, and "
        "with more each would get too few.",
        drawings.draw_silhouette,
    ),
    Exhibit(
        "correlation",
        "Categories",
        "Do the categories follow the data?",
        "Correlation of all features, sorted by the merge tree; categories are outlined. "
        "Strong blocks inside the outlines and pale cells outside mean that the split is real.",
        drawings.draw_correlation,
    ),
    Exhibit(
        "composition",
        "Categories",
        "What the categories are made of",
        "How many features of each family a category holds, and up to three that correlate best "
        "with the rest of it and do not repeat each other.",
        drawings.draw_composition,
    ),
    Exhibit(
        "category_cosines",
        "Categories",
        "Do categories say different things?",
        "|cosine| between the centroids of all pairs of categories; dark is independent. A "
        "category of which nothing varies in these rows is left blank.",
        drawings.draw_cosine,
    ),
    Exhibit(
        "codebook_use",
        "Codes",
        "Are the codebooks used?",
        "Codes that occur at least once, and perplexity (the number of codes that would be as "
        "surprising if all were equally frequent), over all operators of the experiment.",
        drawings.draw_codebook_use,
    ),
    Exhibit(
        "code_frequency",
        "Codes",
        "Are a few codes doing all the work?",
        "Share of operators by rank of the code, one line per codebook, down to its last code. "
        "A flat line spends its bits evenly; a line that plunges wastes them. Dashed: the "
        "largest book, were it used evenly.",
        drawings.draw_code_frequency,
    ),
    Exhibit(
        "token_meanings",
        "Codes",
        "What a token means",
        "For the categories with the most outspoken coarse token: the features in which its "
        "operators deviate most from the usual, in standard deviations, the mean values in "
        "original units, those beyond the caps as the caps, and the operators that show it best.",
        drawings.draw_tokens,
    ),
    Exhibit(
        "code_map",
        "Codes",
        "How the codes lie",
        "Codes (the 2,000 most used) by what they change in the decoded features, coloured by "
        "category; coarse codes are drawn larger than fine ones.",
        drawings.draw_code_map,
    ),
    Exhibit(
        "training",
        "Training",
        "How training went",
        "Every loss term, epoch by epoch; the dotted line is the model that was kept. Epoch 0 "
        "is the start from data, before end-to-end training. Orthogonality is the loss; "
        "utilization is of the greedy codes of training batches.",
        drawings.draw_training,
    ),
)
