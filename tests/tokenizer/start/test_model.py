"""The model before end-to-end training: what was asked for, and repeatable."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start import model as start
from spinlock.tokenizer.start.book_sizes import BookRequest
from spinlock.tokenizer.start.category import Category
from spinlock.tokenizer.start.category_axes import principal_axes
from spinlock.tokenizer.start.model import start_model
from spinlock.tokenizer.start.validation import row_errors, validation_entries


def test_books_have_the_sizes_that_were_asked_for(make_model):
    model = make_model(books=BookRequest(explicit=[[(None, 5), (None, 3)], [(None, 2), (None, 9)]]))
    assert model.quantizer.sizes.tolist() == [[5, 3], [2, 9]]
    assert model.n_levels == 2


def test_automatic_books_keep_to_the_budget(make_model, caplog):
    with caplog.at_level(logging.INFO):
        model = make_model(books=BookRequest(bits=14))
    assert model.n_levels == 3
    assert np.log2(model.quantizer.sizes).sum() == 14
    assert "2 categories, 3 levels, 14 bits" in caplog.text


def test_levels_may_be_limited_to_few_dimensions(make_model):
    explicit = [[(1, 8), (None, 4)], [(2, 8), (3, 4)]]
    model = make_model(books=BookRequest(explicit=explicit))
    ranks = [int(torch.linalg.matrix_rank(model.quantizer.book(c, 0), rtol=1e-4)) for c in (0, 1)]
    assert ranks == [1, 2]


def test_the_shape_is_what_was_asked_for_with_the_book_sizes(make_request, make_model):
    asked = {"embedding_dim": 5, "hidden_dim": 7, "dropout": 0.3, "decay": 0.8, "beam_width": 3}
    explicit = [[(None, 4)], [(None, 2)]]
    model = make_model(books=BookRequest(explicit=explicit), **asked)
    assert model.shape == replace(make_request(**asked).shape, book_sizes=[[4], [2]])


def test_equal_seeds_give_equal_models(make_request, train, validation):
    first, second, other = (
        start_model(make_request(seed=seed), train, validation).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(values, second[name]) for name, values in first.items())
    assert not torch.equal(first["quantizer.all_codes"], other["quantizer.all_codes"])


@pytest.mark.parametrize(("batch_size", "share"), [(64, 64), (1000, 130)])
def test_codes_start_with_the_weight_of_a_batch(make_request, train, validation, batch_size, share):
    model = start_model(make_request(batch_size=batch_size), train, validation)
    assert float(model.quantizer.count(0)[0].sum()) == pytest.approx(share)


def test_categories_that_share_factors_start_from_joint_axes(make_request, caplog, monkeypatch):
    def rows(seed: int, n_rows: int) -> Rows:
        rng = np.random.default_rng(seed)
        shared = rng.normal(size=(n_rows, 6)) * np.sqrt([6, 5, 4, 3, 2, 2])
        return Rows(torch.from_numpy(np.hstack([shared, shared])).float())

    train, validation = rows(0, 1500), rows(1, 300)
    request = make_request(
        partition=[[*range(6)], [*range(6, 12)]],
        column_family=["summary"] * 12,
        books=BookRequest(bits=26),
        embedding_dim=6,
    )
    mean = train.x.mean(dim=0)
    with caplog.at_level(logging.INFO):
        model = start_model(request, train, validation)
    assert ": taken" in caplog.text
    monkeypatch.setattr(start, "MOST_COLUMNS", 0)
    principal = start_model(request, train, validation)
    errors = [validation_entries(one, validation, mean)["val_loss"] for one in (model, principal)]
    assert errors[0] < 0.8 * errors[1]
    np.testing.assert_allclose(
        np.log2(model.quantizer.sizes).sum(), np.log2(principal.quantizer.sizes).sum()
    )


@pytest.mark.parametrize(
    ("gain", "chances", "better"),
    [(1.5, 2, False), (2.5, 2, True), (-2.5, 2, False), (0.1, 0, True), (-0.1, 0, False)],
)
def test_a_gain_that_chance_may_make_is_none_where_it_must_be_clear(gain, chances, better):
    noise = torch.linspace(-1, 1, 400, dtype=torch.float64)
    chance = float(noise.std()) / 20  # standard error of the mean of 400 rows
    assert start._is_better("it", noise + gain * chance, 0 * noise, chances) is better


def test_starts_are_compared_on_validation_rows(make_request, train, validation, monkeypatch):
    compared = []
    monkeypatch.setattr(start, "row_errors", lambda _, rows: compared.append(rows) or rows.x[:, 0])
    start_model(make_request(), train, validation)
    assert len(compared) == 2
    assert all(rows is validation for rows in compared)


def test_joint_axes_get_the_bits_that_a_target_quality_takes(
    make_request, train, validation, monkeypatch
):
    request = make_request(books=BookRequest(bits=60, target_quality=0.5))
    bits = []
    for joint in (True, False):
        monkeypatch.setattr(start, "_is_better", lambda *_, taken=joint: taken)
        model = start_model(request, train, validation)
        bits.append(np.log2(model.quantizer.sizes).sum())
    assert bits[0] == bits[1] < 60


def test_joint_axes_may_fill_given_books_but_only_half_of_automatic_ones():
    bits, given = np.array([6.0, 9.0]), BookRequest(explicit=[[(None, 64)], [(None, 512)]])
    assert start._room(given, bits, 130).tolist() == [6, 9]
    assert start._room(BookRequest(max_tokens=16), bits, 130).tolist() == [6, 6]


def counted(seed: int, n_rows: int) -> Rows:
    """Return low counts, six of a factor and six of another: as many values as there are."""
    rng = np.random.default_rng(seed)
    factors = np.repeat(rng.normal(size=(n_rows, 2)), 6, axis=1)
    return Rows(torch.from_numpy(rng.poisson(np.exp(0.9 * factors - 1))).float())


COUNTS = {
    "partition": [[*range(6)], [*range(6, 12)]],
    "column_family": ["summary"] * 12,
    "books": BookRequest(bits=32),
    "embedding_dim": 6,
}


def test_levels_tell_parts_of_columns_that_take_few_values(make_request, caplog, monkeypatch):
    train, validation, unseen = counted(0, 900), counted(1, 200), counted(2, 300)
    with caplog.at_level(logging.INFO):
        model = start_model(make_request(**COUNTS), train, validation)
    assert re.search(r"with parts of columns -\S+ ± \S+: taken", caplog.text)
    assert np.ceil(np.log2(model.quantizer.sizes).sum()) == 32
    monkeypatch.setattr(Category, "with_parts", lambda one, _: one)
    residual = start_model(make_request(**COUNTS), train, validation)
    errors = [row_errors(one, unseen).mean() for one in (model, residual)]
    assert errors[0] < 0.8 * errors[1]


def test_no_parts_are_tried_where_settings_limit_what_a_level_tells(make_request, caplog):
    limited = BookRequest(bits=32, explicit=[[(2, None), (None, None), (None, None)]] * 2)
    with caplog.at_level(logging.INFO):
        start_model(
            make_request(**COUNTS | {"books": limited}),
            counted(0, 300),
            counted(1, 99),
        )
    assert "fitting books of principal axes" in caplog.text
    assert "fitting books of parts" not in caplog.text


def test_parts_are_not_taken_where_books_estimated_again_make_residual_levels_as_good(
    make_request, monkeypatch
):
    train, validation = counted(0, 300), counted(1, 100)
    given, estimate = [], start.reestimate_books

    def estimated(model, rows):
        given.append((model, rows))
        estimate(model, rows)
        if len(given) == 1:  # the residual books
            monkeypatch.setattr(
                start, "row_errors", lambda one, rows: errors(one, rows) * (one is not model)
            )

    errors = start.row_errors
    monkeypatch.setattr(start, "reestimate_books", estimated)
    model = start_model(make_request(**COUNTS), train, validation)
    assert all(rows is train for _, rows in given)
    assert not model.quantizer.spaces(0, 6)
    assert all(model is not one for one, _ in given)  # what is compared is a copy


@pytest.mark.parametrize("joint", [True, False])
def test_outliers_at_the_caps_have_codes(make_request, train, validation, monkeypatch, joint):
    monkeypatch.setattr(start, "_is_better", lambda *_: joint)
    caps = torch.tensor([[-9.0], [9.0]]).repeat(1, 6)
    outliers = Rows(9.0 * torch.eye(6))
    request = make_request(books=BookRequest(explicit=[[(None, 32)]] * 2))
    errors = [
        row_errors(start_model(one, train, validation), outliers).mean()
        for one in (replace(request, caps=caps), request)
    ]
    assert errors[0] < 0.5 * errors[1]


def test_the_decoder_is_fitted_to_train_rows_and_chosen_by_validation_rows(
    make_request, train, validation, monkeypatch
):
    given, fit = [], start.fit_decoder
    monkeypatch.setattr(start, "fit_decoder", lambda *parts: given.append(parts) or fit(*parts))
    model = start_model(make_request(seed=3), train, validation)
    ((fitted, *rows, generator),) = given
    assert fitted is model
    assert rows == [train, validation]
    assert generator.initial_seed() == 3


def test_a_start_that_is_no_better_is_left_out(make_request, train, validation, monkeypatch):
    def useless(x, partition, limit, bits, most_bits):
        return [
            replace(one, analysis=0 * one.analysis) for one in principal_axes(x, partition, limit)
        ]

    monkeypatch.setattr(start, "joint_axes", useless)
    model = start_model(make_request(), train, validation)
    monkeypatch.setattr(start, "MOST_COLUMNS", 0)
    principal = start_model(make_request(), train, validation).state_dict()
    assert all(torch.equal(values, principal[name]) for name, values in model.state_dict().items())


def test_encoders_of_fields_read_those_of_the_rows(make_request, train, validation):
    params = ENCODER_PARAMS["InitialCNNEncoder"](channels=[2], output_dim=3).model_dump()
    request = make_request(
        encoders={"summary": {"encoder": "InitialCNNEncoder", "encoder_params": params}},
        field_channels=2,
    )
    with_fields = [Rows(rows.x, torch.randn(len(rows), 2, 4, 4)) for rows in (train, validation)]
    model = start_model(request, *with_fields)
    assert model.tokenize(with_fields[1]).shape == (60, 2, 3)


def test_books_larger_than_the_rows_are_told_once(make_model, caplog):
    make_model(books=BookRequest(explicit=[[(None, 512), (None, 2)], [(None, 8), (None, 4)]]))
    assert caplog.text.count("more codes (up to 512) than there are train rows (130)") == 1
    caplog.clear()
    make_model()
    assert not caplog.text


@pytest.mark.parametrize(
    ("asked", "told"),
    [({"bits": 60}, True), ({"bits": 9}, False), ({"bits": 60, "target_quality": 0.1}, False)],
)
def test_bits_that_are_not_used_are_told(make_model, caplog, asked, told):
    make_model(books=BookRequest(**asked), dropout=0.01)
    assert ("of model.bits are used: books hold no more" in caplog.text) is told


@pytest.mark.parametrize(("bits", "told"), [(6, True), (8, True), (12, False)])
def test_levels_for_which_given_ones_leave_no_bits_are_told(make_model, caplog, bits, told):
    open_second = [[(None, 16), (None, None)], [(None, 16), (None, None)]]
    make_model(books=BookRequest(bits=bits, explicit=open_second))
    expected = f"take 8 of the {bits} bits of model.bits: 2 levels whose size"
    assert (expected in caplog.text) is told


def test_where_no_level_is_left_open_nothing_is_told_of_such(make_model, caplog):
    make_model(books=BookRequest(bits=6, explicit=[[(None, 16), (None, 16)]] * 2))
    assert "left open" not in caplog.text


def test_where_no_size_is_given_none_is_said_to_take_bits(make_model, caplog):
    make_model(books=BookRequest(bits=1, explicit=[[(None, None)] * 3] * 2))
    assert "left open" not in caplog.text


@pytest.mark.parametrize("chances", [0, 2])
def test_a_single_validation_row_is_no_reason(chances):
    assert not start._is_better("it", torch.tensor([5.0]), torch.tensor([1.0]), chances)


def test_joint_axes_are_fitted_to_train_rows_for_the_bits_of_the_principal_ones(
    make_request, train, validation, monkeypatch
):
    given, requests = [], []

    def watched(x, partition, limit, bits, most_bits):
        given.append((x, limit, bits, most_bits.tolist()))
        return principal_axes(x, partition, limit)

    choose = start.choose_book_sizes
    monkeypatch.setattr(start, "joint_axes", watched)
    monkeypatch.setattr(
        start, "choose_book_sizes", lambda *parts: requests.append(parts[2]) or choose(*parts)
    )
    books = BookRequest(bits=60, target_quality=0.5)
    start_model(make_request(books=books), train, validation)
    ((x, limit, bits, most_bits),) = given
    assert x is train.x
    assert limit == 3
    assert bits < 60
    assert most_bits == [3 * 6 / 2] * 2  # 130 rows are enough for 64 codes
    assert requests == [books, BookRequest(bits=round(bits))]


def test_joint_axes_get_as_many_bits_where_given_books_hold_no_whole_number(
    make_request, train, validation, monkeypatch
):
    request = make_request(books=BookRequest(bits=20, explicit=[[(None, 70), (None, None)]] * 2))
    bits = []
    for joint in (True, False):
        monkeypatch.setattr(start, "_is_better", lambda *_, taken=joint: taken)
        sizes = start_model(request, train, validation).quantizer.sizes
        bits.append(np.log2(sizes).sum())
    assert bits[0] == bits[1]


@pytest.mark.parametrize(("most_columns", "times"), [(6, 1), (5, 0)])
def test_joint_axes_are_tried_for_so_many_columns(
    make_request, train, validation, monkeypatch, most_columns, times
):
    tried = []
    monkeypatch.setattr(start, "MOST_COLUMNS", most_columns)
    monkeypatch.setattr(start, "_is_better", lambda *_: tried.append(0))
    start_model(make_request(), train, validation)
    assert len(tried) == times


def test_books_as_large_as_the_rows_are_not_told(make_model, caplog):
    make_model(books=BookRequest(explicit=[[(None, 130), (None, 2)], [(None, 8), (None, 4)]]))
    assert not caplog.text
