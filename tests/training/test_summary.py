"""The four metrics of a first look, against their definitions."""

from itertools import combinations

import numpy as np
import pytest
import torch

from spinlock.tokenizer.categories.centroids import mean_abs_cosine
from spinlock.tokenizer.start.book_sizes import BookRequest
from spinlock.training import summary
from spinlock.training.summary import summary_metrics

PARTITION = [np.arange(3), np.arange(3, 6)]


@pytest.fixture
def measured(make_model, validation, train) -> dict[str, float]:
    return summary_metrics(make_model(), validation, train.x.mean(0), PARTITION)


def test_quality_is_the_share_of_variance_about_the_train_mean(
    measured, make_model, validation, train
):
    model = make_model()
    decoded = model.reconstruct(model.tokenize(validation)).double()
    error = (validation.x.double() - decoded).square().sum()
    total = (validation.x.double() - train.x.mean(0)).square().sum()
    assert measured["quality"] == pytest.approx(1 - float(error / total))
    assert 0.5 < measured["quality"] < 1


def test_utilization_is_the_mean_share_of_codes_used(measured, make_model, validation):
    model = make_model()
    tokens = model.tokenize(validation).numpy()
    shares = [
        len(set(tokens[:, c, level])) / model.quantizer.sizes[c, level]
        for c in range(2)
        for level in range(3)
    ]
    assert measured["utilization"] == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("size", [4, 64])
def test_books_of_one_code_are_left_out_of_utilization(make_model, validation, train, size):
    model = make_model(books=BookRequest(explicit=[[(None, size), (None, 1)]] * 2))
    tokens = model.tokenize(validation).numpy()
    shares = [len(set(tokens[:, c, 0])) / size for c in range(2)]
    found = summary_metrics(model, validation, train.x.mean(0), PARTITION)["utilization"]
    assert found == pytest.approx(np.mean(shares))


def test_what_one_category_has_not_is_undefined(make_model, validation, train):
    assert (
        summary_metrics(make_model(), validation, train.x.mean(0), [np.arange(6)])["orthogonality"]
        is None
    )


def test_topographic_correlates_the_distances_of_pairs(measured, make_model, validation):
    model = make_model()
    codes = model.embed(model.tokenize(validation)).flatten(1).detach().double()
    pairs = list(combinations(range(len(validation)), 2))
    between = [
        [float((rows[i] - rows[j]).norm()) for i, j in pairs]
        for rows in (validation.x.double(), codes)
    ]
    assert measured["topographic"] == pytest.approx(np.corrcoef(*between)[0, 1], abs=1e-4)


def test_pairs_are_of_rows_from_anywhere(make_model, validation, train, monkeypatch):
    monkeypatch.setattr(summary, "PAIR_ROWS", len(validation) // 2)
    model = make_model()
    of_all = [
        summary_metrics(model, validation.take(order), train.x.mean(0), PARTITION)["topographic"]
        for order in (torch.arange(len(validation)), validation.x.norm(dim=1).argsort())
    ]
    first = validation[: len(validation) // 2]
    of_first = summary_metrics(model, first, train.x.mean(0), PARTITION)["topographic"]
    assert of_first not in of_all
    assert of_all[0] == pytest.approx(of_all[1], abs=0.1)


def test_orthogonality_is_the_mean_cosine_of_the_centroids(measured, validation):
    assert measured["orthogonality"] == mean_abs_cosine(validation.x.numpy(), PARTITION)


def test_rows_without_variance_have_no_metrics_but_utilization(make_model, validation):
    row = validation.take(torch.zeros(2, dtype=torch.long))
    metrics = summary_metrics(make_model(), row, row.x[0], PARTITION)
    assert 0 < metrics.pop("utilization") < 1
    assert set(metrics.values()) == {None}
