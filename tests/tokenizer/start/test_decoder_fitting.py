"""The joint decoder: corrections, then the network, both on codes as unseen rows have them."""

import copy

import torch

from spinlock.tokenizer.start import cross_fitting, decoder_network
from spinlock.tokenizer.start.corrections import fit_corrections
from spinlock.tokenizer.start.cross_fitting import encodings_of
from spinlock.tokenizer.start.decoder_fitting import fit_decoder
from spinlock.tokenizer.start.decoder_network import fit_network
from spinlock.tokenizer.start.validation import row_errors


def test_corrections_come_first_and_the_network_is_fitted_to_the_same_codes(
    start_of, draw_rows, monkeypatch
):
    monkeypatch.setattr(decoder_network, "LEARNING_RATE", 0.02)
    train, validation = draw_rows(0, 600), draw_rows(1, 200)
    for rows in (train, validation):
        rows.x[:, 1] = rows.x[:, 0] ** 2  # which is told by another category
    model = start_of(train, sizes=[16, 8, 4])
    expected, generator = copy.deepcopy(model), torch.Generator().manual_seed(3)
    encodings = encodings_of(expected, train, validation, generator)
    fit_corrections(expected, encodings)
    linear = copy.deepcopy(expected.decoder.state_dict())
    fit_network(expected, encodings, generator)
    fit_decoder(model, train, validation, torch.Generator().manual_seed(3))
    found = model.decoder.state_dict()
    assert all(torch.equal(v, found[name]) for name, v in expected.decoder.state_dict().items())
    assert encodings.others
    assert not torch.equal(found["network.3.weight"], linear["network.3.weight"])


def test_of_many_rows_the_network_is_fitted_to_the_codes_of_their_own_books(
    start_of, draw_rows, monkeypatch
):
    monkeypatch.setattr(cross_fitting, "ENCODINGS", 100)
    monkeypatch.setattr(decoder_network, "LEARNING_RATE", 0.02)
    train, validation, test = draw_rows(0, 600), draw_rows(1, 200), draw_rows(2, 2000)
    for rows in (train, validation, test):
        rows.x[:, 1] = rows.x[:, 0] ** 2  # which is told by another category
    model = start_of(train, sizes=[16, 8, 4])
    linear = copy.deepcopy(model)
    fit_corrections(linear, encodings_of(linear, train, validation))
    fit_decoder(model, train, validation, torch.Generator().manual_seed(3))
    errors = [row_errors(one, test).mean() for one in (linear, model)]
    assert errors[1] < 0.98 * errors[0]
