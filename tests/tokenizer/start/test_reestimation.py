"""Books estimated again: codes are means of what they stand for, where that does no harm."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.reestimation import reestimate_books

modest = settings(deadline=None, max_examples=12)


@modest
@given(st.integers(0, 2**32 - 1))
def test_reestimated_codes_are_the_means_of_what_they_stand_for(make_model, disturbed, train, seed):
    model = disturbed(make_model(), seed, 0.2)
    quantizer = model.quantizer
    tokens = model.tokenize(train)
    with torch.no_grad():
        z = model.encoder(train.x).double()
    books = [[quantizer.book(c, level).double() for level in range(3)] for c in range(2)]
    reestimate_books(model, train)
    for c in range(2):
        for level in range(3):
            rest = z[c] - sum(
                books[c][other][tokens[:, c, other]] for other in range(3) if other != level
            )
            for k in range(len(books[c][level])):
                mine = rest[tokens[:, c, level] == k]
                if len(mine):
                    books[c][level][k] = mine.mean(0)
            found = quantizer.book(c, level).double()
            torch.testing.assert_close(found, books[c][level], rtol=1e-4, atol=1e-4)


@modest
@given(st.integers(0, 2**32 - 1))
def test_reestimated_books_leave_less_of_the_train_rows(make_model, disturbed, train, seed):
    model = disturbed(make_model(), seed, 0.2)
    tokens = model.tokenize(train)
    with torch.no_grad():
        z = model.encoder(train.x).transpose(0, 1)
    before = (z - model.embed(tokens)).square().sum()
    reestimate_books(model, train)
    assert (z - model.embed(tokens)).square().sum() <= before * (1 + 1e-5)


def test_books_of_categories_with_rare_events_stay(make_model, disturbed, train):
    model = disturbed(make_model(), 0, 0.2)
    before = [[model.quantizer.book(c, level).clone() for level in range(3)] for c in range(2)]
    rows = Rows(train.x.clone())
    rows.x[:, 4] = 0.0
    rows.x[3, 4] = 9.0
    reestimate_books(model, rows)
    same = [
        [torch.equal(model.quantizer.book(c, level), before[c][level]) for level in range(3)]
        for c in range(2)
    ]
    assert same == [[False] * 3, [True] * 3]


def test_reestimated_books_of_restricted_levels_stay_in_their_subspace(
    make_model, make_request, train
):
    books = make_request().books
    explicit = [[(1, 8), (2, 4), (None, 2)]] * 2
    model = make_model(books=type(books)(explicit=explicit))
    reestimate_books(model, train)
    for c in range(2):
        assert torch.linalg.matrix_rank(model.quantizer.book(c, 0), rtol=1e-4) == 1
