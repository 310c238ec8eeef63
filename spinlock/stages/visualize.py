"""visualize: draw the figures and the report of an experiment.

Reads best_model.pt, subset.h5, silhouette.csv, linkage.npz, metrics.json, baselines.csv and
tokens.h5; writes figures/*.svg and *.png, and report.html, one page that needs nothing beside it.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from matplotlib.figure import Figure

from spinlock.analysis.evidence import (
    ClusteringResult,
    Distances,
    Evidence,
    Reconstruction,
    Sample,
    leading_feature,
    map_codes,
    map_operators,
    measure_distances,
    measure_reconstruction,
)
from spinlock.analysis.figures.catalog import EXHIBITS, Exhibit
from spinlock.analysis.figures.style import render
from spinlock.analysis.projections import METHODS
from spinlock.analysis.report.contents import page_data
from spinlock.analysis.report.page import Shown, embedded, render_page
from spinlock.analysis.report.wording import describe
from spinlock.analysis.rows import pair_rows, reported_side
from spinlock.errors import SpinlockError, memory_for
from spinlock.features.naming import nearest_names
from spinlock.features.split import SPLIT_NAMES, sample_rows
from spinlock.features.table import FeatureTable
from spinlock.files import atomic_path, write_text
from spinlock.program import execute, experiment_of, stage_parser
from spinlock.results.clustering_files import read_candidates, read_tree
from spinlock.results.evaluation_files import are_metrics_of, read_baselines, read_metrics
from spinlock.results.model_settings import require_own_model
from spinlock.results.training_files import require_own_subset
from spinlock.settings import Experiment
from spinlock.tokenizer.target_metrics import code_counts
from spinlock.tokenizer.token_file import open_tokens, require_tokens_of
from spinlock.tokenizer.tokenizer import Tokenizer

log = logging.getLogger(__name__)

MEASURED_ROWS = 20_000  # rows that are decoded for the figures of quality, at most
KINDS = ("svg", "png")


@memory_for("visualize", "lower visualization.max_points, or give the job more memory")
def run(
    config: Path | Experiment,
    model: Path,
    subset: Path,
    silhouette: Path,
    linkage: Path,
    metrics: Path,
    baselines: Path,
    tokens: Path,
    figures: Path,
    report: Path,
) -> None:
    """Gather what an experiment left behind, and draw it."""
    experiment = experiment_of(config)
    tokenizer = Tokenizer.load(model)
    require_own_model(experiment, tokenizer.config, model)
    measured = _metrics_of(tokenizer, metrics)
    with FeatureTable(subset) as table, open_tokens(tokens) as file:
        require_own_subset(table, tokenizer.provenance)
        require_tokens_of(tokenizer, file)
        split = table.split
        evidence = _gather(
            experiment, tokenizer, table, file, experiment_name(report),
            ClusteringResult(read_candidates(silhouette), *read_tree(linkage, len(tokenizer.kept))),
            measured, read_baselines(baselines),
        )  # fmt: skip
    shown = {exhibit.name: _draw(exhibit, evidence, figures) for exhibit in EXHIBITS}
    page = render_page(describe(evidence, split, shown), page_data(evidence))
    write_text(report, page)
    drawn = sum(bool(one.image) for one in shown.values())
    log.info("%d figures, a report of %.1f MB", drawn, len(page.encode()) / 1e6)


def _gather(
    experiment: Experiment,
    tokenizer: Tokenizer,
    table: FeatureTable,
    file: h5py.File,
    name: str,
    clustering: ClusteringResult,
    metrics: dict[str, Any],
    baselines: dict[str, tuple[np.ndarray, np.ndarray]],
) -> Evidence:
    settings, seed = experiment.visualization, experiment.random_seed
    methods = list(METHODS) if settings.projection == "both" else [settings.projection]
    tokens = _tokens_of(file, table.row_ids)
    counts = code_counts(tokens, tokenizer.codebook_sizes)
    sample = _sample(tokenizer, table, tokens, settings.max_points, seed)
    color_by = _color_by(settings.color_by, tokenizer, sample.x)  # told before what takes long
    return Evidence(
        experiment=name,
        tokenizer=tokenizer,
        sample=sample,
        counts=counts,
        operator_maps=map_operators(tokenizer, sample.tokens, methods, seed),
        code_maps=map_codes(tokenizer, counts, methods, seed),
        clustering=clustering,
        reconstruction=_reconstruction(tokenizer, table, tokens, seed),
        distances=_distances(tokenizer, table, tokens, metrics),
        metrics=metrics,
        baselines=baselines,
        color_by=color_by,
        orthogonality_target=experiment.training.orthogonality_target,
    )


def _sample(
    tokenizer: Tokenizer, table: FeatureTable, tokens: np.ndarray, n_rows: int, seed: int
) -> Sample:
    rows = sample_rows(np.arange(table.n_rows), n_rows, seed)
    return Sample(
        x=tokenizer.normalize(table.read(rows)),
        tokens=tokens[rows],
        ids=table.row_ids[rows],
        split=table.split[rows],
        labels={name: table.labels(name)[rows] for name in table.label_names()},
    )


def _reconstruction(
    tokenizer: Tokenizer, table: FeatureTable, tokens: np.ndarray, seed: int
) -> Reconstruction:
    side = reported_side(table.split)
    rows = sample_rows(table.rows(side), MEASURED_ROWS, seed)
    x = tokenizer.normalize(table.read(rows))
    return measure_reconstruction(tokenizer, x, tokens[rows], SPLIT_NAMES[side])


def _distances(
    tokenizer: Tokenizer, table: FeatureTable, tokens: np.ndarray, metrics: Mapping[str, Any]
) -> Distances:
    """Return the distances that the metric `topographic` correlates."""
    rows = np.sort(pair_rows(table.split, metrics["rows"]["pairs_of"]))
    x = tokenizer.normalize(table.read(rows))
    return measure_distances(tokenizer, x, tokens[rows])


def _tokens_of(file: h5py.File, row_ids: np.ndarray) -> np.ndarray:
    """Return the tokens [n, C, L] of operators by their row in the dataset."""
    ids = file["row_ids"][:]
    if not np.isin(row_ids, ids).all():
        raise SpinlockError(
            "the tokens are of another dataset than the subset",
            where=file.filename,
            remedy="run the stage `encode` again",
        )
    order = np.argsort(ids)
    at = order[np.searchsorted(ids, row_ids, sorter=order)]
    return file["tokens"][:][at].astype(np.int64)


def _color_by(wanted: str | None, tokenizer: Tokenizer, x: np.ndarray) -> int:
    if wanted is None:
        return leading_feature(x)
    names = tokenizer.kept_names
    if wanted in names:
        return names.index(wanted)
    raw = [column.full_name for column in tokenizer.columns]
    raise SpinlockError(
        f"visualization.color_by names {wanted!r}, which "
        + ("cleaning dropped" if wanted in raw else "is no feature of this experiment"),
        remedy=nearest_names(wanted, names),
    )


def _draw(exhibit: Exhibit, evidence: Evidence, folder: Path) -> Shown:
    """Draw an exhibit and write it; a figure of an earlier run that has no successor goes."""
    drawn = exhibit.draw(evidence)
    paths = {kind: folder / f"{exhibit.name}.{kind}" for kind in KINDS}
    if not isinstance(drawn, Figure):
        log.info("%s is left out: %s", exhibit.name, drawn)
        for path in paths.values():
            path.unlink(missing_ok=True)
        return Shown(exhibit.name, exhibit.title, exhibit.question, reason=drawn)
    pictures = {kind: render(drawn, kind) for kind in KINDS}
    for kind, path in paths.items():
        with atomic_path(path) as temporary:
            temporary.write_bytes(pictures[kind])
    return embedded(exhibit.name, exhibit.title, exhibit.question, pictures["png"])


def experiment_name(report: Path) -> str:
    """Return the path of a report's folder below the last one called results, or its name."""
    *above, name = report.resolve().parent.parts
    if "results" not in above:
        return name
    return "/".join([*above[len(above) - above[::-1].index("results") :], name])


def _metrics_of(tokenizer: Tokenizer, path: Path) -> dict[str, Any]:
    """Return the metrics of a model, which say that they are its own on its own held-out rows."""
    measured = read_metrics(path)
    if not are_metrics_of(measured, tokenizer.digest, tokenizer.source_digest):
        raise SpinlockError(
            "these metrics are not known to be of this model on its own held-out rows",
            where=path,
            remedy="run the stage `evaluate` again",
        )
    return measured


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--subset", type=Path, required=True)
    parser.add_argument("--silhouette", type=Path, required=True)
    parser.add_argument("--linkage", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--baselines", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()
