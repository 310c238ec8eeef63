"""The joint decoder: corrections, then the network, both on codes as unseen rows have them."""

import copy

import torch

from spinlock.tokenizer.start import cross_fitting, decoder_network
from spinlock.tokenizer.start.corrections import fit_corrections
from spinlock.tokenizer.start.cross_fitting import encodings_of
from spinlock.tokenizer.start.decoder_fitting import fit_decoder
from spinlock.tokenizer.start.decoder_network import fit_network


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


def test_of_many_rows_the_network_is_left_to_training(start_of, draw_rows, monkeypatch):
    monkeypatch.setattr(cross_fitting, "ENCODINGS", 100)
    monkeypatch.setattr(decoder_network, "LEARNING_RATE", 0.02)
    model = start_of(train := draw_rows(0, 200), sizes=[16, 8, 4])
    fit_decoder(model, train, draw_rows(1, 80), torch.Generator().manual_seed(3))
    assert not model.decoder.network[-1].weight.any()
