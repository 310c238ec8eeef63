"""The decoder's corrections: never worse than none, and better for rows that books do not know."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start import corrections
from spinlock.tokenizer.start.corrections import fit_corrections
from spinlock.tokenizer.start.cross_fitting import encodings_of
from spinlock.tokenizer.start.ridge import STRENGTHS, Moments, ridge_regression


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def error_of(model: TokenizerModel, rows: Rows, levels: int | None = None) -> float:
    decoded = model.reconstruct(model.tokenize(rows), levels)
    return float((rows.x - decoded).square().mean())


def without_correction(model: TokenizerModel, rows: Rows, levels: int) -> float:
    codes = model.embed(model.tokenize(rows), levels).transpose(0, 1)
    with torch.no_grad():
        decoded = model.decoder.decode_own(codes)
        if levels == model.n_levels:
            decoded = decoded + model.decoder.decode_network(codes)
    return float((rows.x - decoded).square().mean())


@torch.no_grad()
def with_network(model: TokenizerModel) -> TokenizerModel:
    """Return the model with a network that adds something."""
    torch.manual_seed(0)
    model.decoder.network[-1].weight.normal_(0, 0.3)
    return model


@torch.no_grad()
def own_and_missed(model: TokenizerModel, rows: Rows, levels: int) -> tuple[Tensor, Tensor]:
    """Return what each category decodes alone, and what is missed then."""
    codes = model.embed(model.tokenize(rows), levels).transpose(0, 1)
    own = model.decoder.decode_own(codes)
    whole = levels == model.n_levels
    target = rows.x - model.decoder.decode_network(codes) if whole else rows.x
    return own, target.double() - own


def test_the_correction_is_ridge_regression_on_what_categories_decode_alone(start_of, draw_rows):
    train, validation = draw_rows(0, 60), draw_rows(1, 30)
    model = with_network(start_of(train))
    with torch.no_grad():  # how long codes are, of what is decoded the same, must not matter
        model.decoder.own.weight.mul_(torch.tensor([3.0, 0.2]).view(2, 1, 1))
    fit_corrections(model, encodings_of(model, train, validation))
    for level in range(3):
        fitted, held_out = (own_and_missed(model, rows, level + 1) for rows in (train, validation))
        moments = [Moments(7, 7), Moments(7, 7)]
        for one, rows in zip(moments, (fitted, held_out), strict=True):
            one.add(*rows)
        # of the seven columns, six dimensions vary
        strengths = [strength * 7 / 6 for strength in STRENGTHS]
        weights, offset = ridge_regression(moments[:1], moments[1], strengths)
        own = held_out[0]
        codes = model.embed(model.tokenize(validation), level + 1).transpose(0, 1)
        with torch.no_grad():
            decoded = model.decoder.decode_linear(codes, level)
        expected = own + own.double() @ weights + offset
        torch.testing.assert_close(decoded.double(), expected, rtol=1e-4, atol=1e-5)


def test_no_prefix_is_worse_on_validation_rows_than_without(start_of, draw_rows):
    train, validation = draw_rows(0, 60), draw_rows(1, 30)
    model = with_network(start_of(train))
    fit_corrections(model, encodings_of(model, train, validation, generator()))
    for levels in (1, 2, 3):
        alone = without_correction(model, validation, levels)
        assert error_of(model, validation, levels) <= alone * (1 + 1e-6)


def test_the_whole_correction_makes_up_for_the_network(start_of, draw_rows):
    train, validation = draw_rows(0, 60), draw_rows(1, 30)
    model = start_of(train)
    fit_corrections(model, encodings_of(model, train, validation))
    before = error_of(model, validation)
    with torch.no_grad():
        model.decoder.network[-1].bias.fill_(3.0)
    assert error_of(model, validation) > before + 1
    fit_corrections(model, encodings_of(model, train, validation))
    assert error_of(model, validation) < before * 1.01


def test_codes_of_books_that_have_not_seen_the_rows_help_on_unseen_rows(
    start_of, draw_rows: Callable[[int, int], Rows]
):
    gains = []
    for seed in range(5):
        train, validation, test = (draw_rows(3 * seed + i, n) for i, n in enumerate((40, 40, 1000)))
        model = start_of(train, sizes=[16, 8, 4])
        fit_corrections(model, encodings_of(model, train, validation))
        own_codes = error_of(model, test)
        fit_corrections(model, encodings_of(model, train, validation, generator()))
        gains.append(1 - error_of(model, test) / own_codes)
    assert sum(gains) / len(gains) > 0.01, gains
    assert sum(gain > 0 for gain in gains) >= 4, gains


def test_own_codes_keep_a_third_of_the_weight_and_may_be_taken_alone(
    start_of, draw_rows, monkeypatch
):
    train, validation, given = draw_rows(0, 60), draw_rows(1, 30), []
    model = start_of(train)

    def watched(fits, held_out):
        given.append([one.weight for one in fits])
        return ridge_regression(fits, held_out)

    monkeypatch.setattr(corrections, "ridge_regression", watched)
    fit_corrections(model, encodings_of(model, train, validation, generator()))
    encoded = 8 * 60  # each row as often as rows are dealt
    assert given == [pytest.approx([60, encoded + encoded / 2])] * 3


def test_columns_with_rare_events_are_not_corrected(start_of, draw_rows):
    train, validation = draw_rows(0, 300), draw_rows(1, 100)
    for rows in (train, validation):
        rows.x[:, 3] = 0.0
        rows.x[:4, 3] = 10.0
    model = start_of(train)
    fit_corrections(model, encodings_of(model, train, validation, generator()))
    for level in range(model.n_levels):
        cross, offset = model.decoder.correction(level)
        assert cross[:, 3].abs().max() < 1e-6
        assert offset[3].abs() < 1e-6
        assert cross[:, [0, 1, 2, 4, 5, 6]].abs().max() > 1e-3
