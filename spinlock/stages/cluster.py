"""cluster: discover categories of features by hierarchical clustering of the train rows.

Reads subset.h5 and feature_statistics.npz; writes categories.json, silhouette.csv and
linkage.npz.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from spinlock.errors import located, memory_for
from spinlock.features.split import TRAIN, VALIDATION, sample_rows
from spinlock.features.table import FeatureTable
from spinlock.program import execute, experiment_of, stage_parser
from spinlock.results.clustering_files import write_candidates, write_tree
from spinlock.results.training_files import read_statistics, write_categories
from spinlock.settings import Experiment
from spinlock.tokenizer.categories.clustering import (
    Clustering,
    discover_categories,
    given_categories,
)
from spinlock.tokenizer.categories.column_tree import Partition
from spinlock.tokenizer.categories.mapping import MAPPING_REMEDY, mapped_partition, read_mapping
from spinlock.tokenizer.normalization.statistics import FeatureStatistics
from spinlock.tokenizer.start.bit_budget import (
    BitDemand,
    bits_for_quality,
    most_bits,
    rows_of_books,
    useful_categories,
)
from spinlock.tokenizer.start.book_sizes import BookRequest
from spinlock.tokenizer.start.partition_quality import partition_quality

log = logging.getLogger(__name__)

CORRELATION_ROWS = 20_000  # rows that correlations and silhouettes are measured on, at most


@memory_for("cluster", "lower max_samples or training.max_clusters, or give the job more memory")
def run(
    config: Path | Experiment,
    subset: Path,
    statistics: Path,
    categories: Path,
    silhouette: Path,
    linkage: Path,
) -> None:
    """Find the categories of a subset's columns, or read them from the manual mapping."""
    experiment = experiment_of(config)
    fitted = read_statistics(statistics)
    with FeatureTable(subset) as table:
        x = _normalised(table, fitted, TRAIN, experiment.random_seed)
        names = [column.full_name for column in table.columns]
        mapping = experiment.training.manual_mapping
        if mapping is not None:
            clustering, partition = _manual(experiment, mapping, x, names, fitted.kept)
        else:
            held_out = _normalised(table, fitted, VALIDATION, experiment.random_seed)
            clustering = _automatic(experiment, x, held_out)
            partition = {f"category_{i:02d}": m for i, m in enumerate(clustering.partition)}
    kept_names = [names[i] for i in fitted.kept]
    write_categories(partition, kept_names, categories)
    _write(clustering, silhouette, linkage)
    log.info("%d categories of %d features", len(partition), len(kept_names))


def _normalised(
    table: FeatureTable, statistics: FeatureStatistics, side: int, seed: int
) -> np.ndarray:
    rows = sample_rows(table.rows(side), CORRELATION_ROWS, seed)
    return statistics.apply(table.read(rows))


def _automatic(experiment: Experiment, x: np.ndarray, held_out: np.ndarray) -> Clustering:
    training = experiment.training
    number = training.num_categories_auto
    by_validation = number == "validation"
    n_rows = _rows_of_books(experiment, len(x))
    budget = _budget(experiment, x)
    fixed = None if by_validation else number
    # else another rule chooses, which any cosine is good for
    target = training.orthogonality_target if number is None else 1.0
    clustering = discover_categories(
        x,
        method=training.category_correlation,
        num_categories=fixed,
        max_clusters=training.max_clusters,
        min_features=training.min_features_per_category,
        orthogonality_target=target,
        useful=useful_categories(budget, n_rows) if n_rows else None,
        demand=BitDemand(x, budget, n_rows) if n_rows else None,
        validation_quality=_quality_of(experiment, budget, x, held_out) if by_validation else None,
    )
    n_categories = len(clustering.partition)
    if fixed and n_categories < fixed:
        log.warning(
            "%d categories instead of the %d of num_categories_auto: there are %d columns, and "
            "min_features_per_category joins small clusters",
            n_categories,
            number,
            x.shape[1],
        )
    held = most_bits(n_categories, n_rows) if n_rows else budget
    if experiment.model.target_quality is None and held < budget and n_categories < x.shape[1]:
        log.warning(
            "%d categories hold at most %d of the %d bits of model.bits; more of them would hold "
            "more: see num_categories_auto, max_clusters and min_features_per_category",
            n_categories,
            held,
            budget,
        )
    return clustering


def _budget(experiment: Experiment, x: np.ndarray) -> int:
    """Return the bits that categories are to hold: no more than a target quality takes."""
    bits, target = experiment.model.bits, experiment.model.target_quality
    return bits if target is None else min(bits, bits_for_quality(x, target))


def _rows_of_books(experiment: Experiment, n_rows: int) -> int | None:
    """Return the rows that automatic books are as large as; None where books are given."""
    model = experiment.model
    if model.levels:
        return None
    return rows_of_books(n_rows, model.max_tokens)


def _quality_of(
    experiment: Experiment, budget: int, x: np.ndarray, held_out: np.ndarray
) -> Callable[[Partition], float]:
    train, validation = torch.from_numpy(x), torch.from_numpy(held_out)
    model = experiment.model
    request = BookRequest(bits=budget, max_tokens=model.max_tokens)

    def quality(partition: Partition) -> float:
        generator = torch.Generator().manual_seed(experiment.random_seed)
        return partition_quality(
            train, validation, partition, request, model.group_embedding_dim, generator
        )

    return quality


def _manual(
    experiment: Experiment, path: Path, x: np.ndarray, names: list[str], kept: np.ndarray
) -> tuple[Clustering, dict[str, np.ndarray]]:
    mapping = read_mapping(path, remedy=MAPPING_REMEDY)
    with located(path):
        partition = mapped_partition(mapping, names, kept)
    method = experiment.training.category_correlation
    return given_categories(x, list(partition.values()), method=method), partition


def _write(clustering: Clustering, silhouette: Path, linkage: Path) -> None:
    chosen = len(clustering.partition)
    candidates = [
        asdict(one) | {"chosen": one.num_categories == chosen} for one in clustering.candidates
    ]
    write_candidates(candidates, silhouette)
    write_tree(clustering.merge_tree, clustering.correlation, linkage)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--subset", type=Path, required=True)
    parser.add_argument("--statistics", type=Path, required=True)
    parser.add_argument("--categories", type=Path, required=True)
    parser.add_argument("--silhouette", type=Path, required=True)
    parser.add_argument("--linkage", type=Path, required=True)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()
