"""Settings of what is measured and shown."""

from typing import Literal

from spinlock.settings.section import Section, setting

EVALUATE, VISUALIZE = ("evaluate",), ("visualize",)


class Evaluation(Section):
    """What is measured on test rows beside the model's own metrics."""

    baselines: bool = setting(True, "compare with PCA + Lloyd and faiss", stages=EVALUATE)
    probe_column: str | None = setting(
        None, "label dataset that a probe predicts from the tokens", stages=EVALUATE
    )
    max_pair_rows: int = setting(
        2000, "rows that pairwise metrics are measured on", stages=EVALUATE, ge=3
    )
    memory_budget: float = setting(
        1.0,
        "GiB that fitting faiss's quantisers may take (23,000 rows of 338 columns): of more train "
        "rows, baselines are fitted to as many, drawn at random; metrics.json tells how many",
        stages=EVALUATE,
        gt=0,
    )


class Visualization(Section):
    """What the figures show."""

    projection: Literal["umap", "tsne", "both"] = setting(
        "both", "umap, tsne or both", stages=VISUALIZE
    )
    color_by: str | None = setting(
        None, "feature (family/name) that colours the operators", stages=VISUALIZE
    )
    max_points: int = setting(3000, "operators that are drawn", stages=VISUALIZE, ge=10, le=50_000)
