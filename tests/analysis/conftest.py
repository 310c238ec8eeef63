"""An experiment made of random numbers, with names that try to break out of the page."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from spinlock.analysis.cleaning import Altered
from spinlock.analysis.evidence import (
    ClusteringResult,
    Evidence,
    Sample,
    map_codes,
    map_operators,
    measure_distances,
    measure_reconstruction,
)
from spinlock.analysis.rows import RowsOfSplit
from spinlock.features.split import TEST, TRAIN, VALIDATION
from spinlock.features.table import Column, TableHeader
from spinlock.settings.data import FeatureCleaning
from spinlock.tokenizer.categories.column_tree import correlation_matrix, merge_tree
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.normalization.fitting import fit_statistics
from spinlock.tokenizer.target_metrics import code_counts
from spinlock.tokenizer.tokenizer import Tokenizer

HOSTILE = '<img src=x onerror="window.broken=1">'
N_ROWS, N_SPLIT_ROWS = 90, 400
BOOK_SIZES = [[8, 4, 2], [16, 4, 2], [8, 2, 4]]


def random_tokenizer(n_columns: int, n_categories: int, hostile: str = HOSTILE) -> Tokenizer:
    rng = np.random.default_rng(3)
    names = [hostile, "cost_$x$_and_$", "</script><script>window.broken=1</script>"]
    names += [f"feature_{i}" for i in range(n_columns - len(names))]
    families = ["summary", "initial"]
    columns = [Column(families[i % 2], name) for i, name in enumerate(names[:n_columns])]
    values = rng.normal(size=(200, n_columns)) * np.logspace(-3, 3, n_columns)
    values[::7, 0] = np.nan
    kept_families = [column.family for column in columns]
    # dropped: a position among the kept columns is then none among all of them
    columns.insert(1, Column("initial", "constant"))
    values = np.insert(values, 1, 2.5, axis=1)
    statistics = fit_statistics(
        lambda chosen, rows: values[rows, chosen],
        len(values),
        len(columns),
        FeatureCleaning(),
        "standard",
    )
    parts = [part.tolist() for part in np.array_split(np.arange(n_columns), n_categories)]
    shape = ModelShape(
        partition=parts,
        book_sizes=BOOK_SIZES[:n_categories],
        column_family=kept_families,
        encoders={},
        embedding_dim=4,
        hidden_dim=4,
    )
    model = TokenizerModel(shape)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for values_of in model.state_dict().values():
            if values_of.is_floating_point():
                values_of.copy_(torch.randn(values_of.shape, generator=generator) / 3)
    categories = {f"category_{c:02d}": np.array(part) for c, part in enumerate(parts)}
    if n_categories > 1:
        categories = {HOSTILE if c == 1 else k: v for c, (k, v) in enumerate(categories.items())}
    history = [
        {"step": "start", "epoch": 0, "val_loss": 1.0, "val_quality": 0.5},
        {
            "step": "epoch", "epoch": 1, "learning_rate": 0.001, "train_loss": 1.0,
            "reconstruction_loss": 0.5, "vq_loss": 0.2, "val_loss": 0.4, "val_quality": 0.6,
            "utilization": [[0.5, 0.6, 0.7]] * n_categories,
        },
    ]  # fmt: skip
    return Tokenizer(
        Checkpoint(
            model=model,
            header=TableHeader(columns, "digest"),
            statistics=statistics,
            categories=categories,
            config={},
            history=history,
            provenance={"spinlock": "0.1.0", "libraries": {"torch": HOSTILE}},
        )
    )


def random_evidence(n_columns: int, n_categories: int, n_rows: int) -> Evidence:
    rng = np.random.default_rng(5)
    tokenizer = random_tokenizer(n_columns, n_categories)
    x = rng.normal(size=(n_rows, n_columns)).astype(np.float32)
    sizes = tokenizer.codebook_sizes
    tokens = (rng.random((n_rows, *sizes.shape)) ** 2 * sizes).astype(int)
    labels = {HOSTILE: np.array(["a", "<b>b</b>", HOSTILE])[np.arange(n_rows) % 3]}
    split = np.arange(n_rows) % 3
    correlation = correlation_matrix(x)
    tree = merge_tree(correlation) if n_columns > 1 else np.empty((0, 4))
    counts = code_counts(tokens, sizes)
    number = np.arange(2, 2 + n_categories)
    targets = [
        {"name": "quality", "value": 0.93, "target": 0.9, "below": False, "met": True},
        {"name": "orthogonality", "value": 0.3, "target": 0.25, "below": True, "met": False},
    ]
    return Evidence(
        experiment="validation/" + HOSTILE,
        tokenizer=tokenizer,
        sample=Sample(x, tokens, 10 * np.arange(n_rows), split, labels),
        counts=counts,
        operator_maps=map_operators(tokenizer, tokens, ["tsne"], 0),
        code_maps=map_codes(tokenizer, counts, ["tsne"], 0),
        clustering=ClusteringResult(
            {"num_categories": number, "silhouette": 0.1 * number, "mean_abs_cosine": 1 / number},
            tree,
            correlation,
        ),
        reconstruction=measure_reconstruction(tokenizer, x[::2], tokens[::2], "test"),
        distances=measure_distances(tokenizer, x[::2], tokens[::2]),
        metrics={
            "targets": targets,
            "rows": {"train": 50, "validation": 25, "test": 15, "baselines_of": 50},
            "quality_by_level": {"coarse": 0.4, "medium": 0.7, "fine": 0.9},
            "quality_by_feature": {},
            "cleaning": {
                "imputed_cells": {tokenizer.kept_names[0]: 30, "c": 2},
                "capped_cells": {tokenizer.kept_names[0]: 1, "b": 40},
            },
        },
        baselines={"pca_lloyd_max": (np.array([9.0, 18.0]), np.array([0.4, 0.5]))},
        color_by=0,
        orthogonality_target=0.15,
    )


@pytest.fixture(scope="session")
def evidence() -> Evidence:
    return random_evidence(n_columns=12, n_categories=3, n_rows=N_ROWS)


@pytest.fixture(scope="session")
def tiny_evidence() -> Evidence:
    """Four operators, one feature: most of what could be drawn is missing."""
    whole = random_evidence(n_columns=1, n_categories=1, n_rows=4)
    few = replace(whole.code_maps, maps={})
    return replace(whole, operator_maps={}, code_maps=few, baselines={})


@pytest.fixture(scope="session")
def tokenizer(evidence):
    return evidence.tokenizer


@pytest.fixture(scope="session")
def rows(tokenizer):
    """Rows about what their codes decode to: sides differ in noise, in place and in codes."""
    rng = np.random.default_rng(11)
    sizes = tokenizer.codebook_sizes
    split = rng.choice([TRAIN, VALIDATION, TEST], N_SPLIT_ROWS, p=[0.6, 0.2, 0.2]).astype(np.int8)
    tokens = (rng.random((N_SPLIT_ROWS, *sizes.shape)) * sizes).astype(int)
    tokens[split == TEST] = np.minimum(tokens[split == TEST], 3)
    decoded = tokenizer.reconstruct(tokens)
    noise = np.array([0.1, 0.4, 0.8])[split]
    x = decoded + noise[:, None] * rng.normal(size=decoded.shape)
    x[split == TEST] += 0.5
    beyond = (rng.random(x.shape) < 0.02) * rng.normal(size=x.shape)
    altered = Altered.of(rng.random(x.shape) < 0.01, beyond)
    cut = sparse.csr_array(beyond[split == TEST].astype(np.float32))
    return RowsOfSplit(x.astype(np.float32), tokens, altered, cut, split, {})


@pytest.fixture(scope="session")
def known(rows):
    return np.flatnonzero(rows.split == TRAIN)


@pytest.fixture(scope="session")
def held_out(rows):
    return np.flatnonzero(rows.split == TEST)
