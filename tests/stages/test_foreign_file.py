"""A file that another program wrote, through the whole pipeline."""

import json
from pathlib import Path

import pytest

EXCERPT = Path(__file__).parents[1] / "data/foreign_excerpt.h5"


@pytest.fixture(scope="module")
def families():
    return {"architecture": "MLPEncoder", "initial": "MLPEncoder", "summary": "MLPEncoder"}


def test_the_excerpt_is_small():
    assert EXCERPT.stat().st_size < 1_000_000


def test_a_foreign_file_goes_through_the_whole_pipeline(run_pipeline, families, caplog):
    out = run_pipeline(
        EXCERPT,
        families,
        model={"bits": 96, "group_embedding_dim": 32},
        training={"num_categories_auto": 10},
    )
    metrics = json.loads((out / "metrics.json").read_text())
    assert "feature_registry has 183 names for 330 columns" in caplog.text
    assert len(metrics["cleaning"]["dropped"]["constant"]) == 12
    best = max(
        one["quality"]
        for method, one in metrics["baselines"].items()
        if method != "gaussian_reference"
    )
    assert metrics["quality"] > best
