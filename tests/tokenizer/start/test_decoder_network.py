"""The decoder's network: fitted to what linear decoding misses, kept where validation rows gain."""

import copy

import numpy as np
import pytest
import torch

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start import cross_fitting, decoder_network
from spinlock.tokenizer.start.cross_fitting import Encoding, Encodings, encodings_of
from spinlock.tokenizer.start.decoder_network import fit_network


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bent_rows(seed: int, n_rows: int) -> Rows:
    """Return rows whose last column is the square of a cause that the other category tells best."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 7))
    x[:, 6] = x[:, 1] = (x[:, 0] ** 2 - 1) / np.sqrt(2)
    return Rows(torch.from_numpy(x).float())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small network of the tests have its time."""
    monkeypatch.setattr(decoder_network, "LEARNING_RATE", 0.02)
    monkeypatch.setattr(decoder_network, "DROPOUT", 0.0)
    monkeypatch.setattr(decoder_network, "DROPOUT_OF_MANY", 0.0)


def error_of(model: TokenizerModel, rows: Rows) -> float:
    return float((rows.x - model.reconstruct(model.tokenize(rows))).square().mean())


def network_of(model: TokenizerModel) -> list[torch.Tensor]:
    return [values.clone() for values in model.decoder.network.state_dict().values()]


@pytest.mark.usefixtures("patient")
def test_the_network_tells_what_linear_decoding_cannot(start_of):
    train, validation, test = bent_rows(0, 600), bent_rows(1, 200), bent_rows(2, 2000)
    model = start_of(train, sizes=[16, 2, 2])
    before = error_of(model, test)
    fit_network(model, encodings_of(model, train, validation, generator()), generator())
    assert error_of(model, test) < 0.97 * before


@pytest.mark.parametrize("seed", range(4))
def test_validation_rows_are_never_told_worse(start_of, draw_rows, seed):
    train, validation = draw_rows(2 * seed, 40), draw_rows(2 * seed + 1, 20)
    model = start_of(train)
    before = error_of(model, validation)
    fit_network(model, encodings_of(model, train, validation, generator()), generator())
    assert error_of(model, validation) <= before * (1 + 1e-6)


@pytest.mark.parametrize("rate", [1e3, float("inf")])
def test_steps_that_lead_nowhere_change_nothing(start_of, monkeypatch, rate):
    train, validation = bent_rows(0, 60), bent_rows(1, 20)
    model = start_of(train)
    before = network_of(model)
    monkeypatch.setattr(decoder_network, "LEARNING_RATE", rate)
    fit_network(model, encodings_of(model, train, validation), generator())
    assert all(torch.equal(*pair) for pair in zip(network_of(model), before, strict=True))


@pytest.mark.usefixtures("patient")
def test_nothing_but_the_network_changes(start_of):
    train, validation = bent_rows(0, 600), bent_rows(1, 200)
    model = start_of(train, sizes=[16, 2, 2])
    before = copy.deepcopy(model.state_dict())
    found = encodings_of(model, train, validation, generator())
    state = torch.get_rng_state()
    fit_network(model, found, generator())
    assert torch.equal(torch.get_rng_state(), state)
    changed = {
        name for name, values in model.state_dict().items() if not values.equal(before[name])
    }
    assert changed == {name for name in before if name.startswith("decoder.network.")}
    assert all(weights.grad is None for weights in model.parameters())


@pytest.mark.usefixtures("patient")
def test_codes_of_little_weight_teach_little(start_of, monkeypatch):
    train, validation = bent_rows(0, 300), bent_rows(1, 100)
    model = start_of(train, sizes=[16, 2, 2])
    before = error_of(model, validation)
    found = encodings_of(model, train, validation, generator())
    wrong = Rows(train.x + 100)
    monkeypatch.setattr(cross_fitting, "OWN_SHARE", 1e-9)
    own = Encoding(wrong, found.own.tokens, found.own.quantizer)
    fit_network(model, Encodings(own, found.others, found.held_out, found.rare), generator())
    assert error_of(model, validation) < 0.97 * before


def test_the_generator_decides_alone(start_of):
    train, validation = bent_rows(0, 60), bent_rows(1, 20)
    made = []
    for seed in (0, 0, 1):
        model = start_of(train)
        torch.manual_seed(len(made))
        fit_network(model, encodings_of(model, train, validation), generator(seed))
        made.append(network_of(model))
    assert all(torch.equal(*pair) for pair in zip(made[0], made[1], strict=True))
    assert not all(torch.equal(*pair) for pair in zip(made[0], made[2], strict=True))


@pytest.mark.usefixtures("patient")
def test_a_network_that_adds_something_goes_on_from_there(start_of):
    train, validation = bent_rows(0, 300), bent_rows(1, 100)
    model = start_of(train, sizes=[16, 2, 2])
    for _ in range(2):
        before = error_of(model, validation)
        fit_network(model, encodings_of(model, train, validation, generator()), generator())
        assert error_of(model, validation) <= before * (1 + 1e-6)
    assert error_of(model, validation) < error_of(start_of(train, sizes=[16, 2, 2]), validation)


@pytest.mark.usefixtures("patient")
def test_gradients_that_training_left_are_not_followed(start_of):
    train, validation = bent_rows(0, 60), bent_rows(1, 20)
    made = []
    for left in (0.0, 100.0):
        model = start_of(train)
        for weights in model.parameters():
            weights.grad = torch.full_like(weights, left)
        fit_network(model, encodings_of(model, train, validation), generator())
        made.append(network_of(model))
    assert all(torch.equal(*pair) for pair in zip(*made, strict=True))


@pytest.mark.parametrize(("most", "dropout"), [(12_800, 0.4), (500, 0.1)])
def test_hidden_units_are_dropped_fewer_of_many_rows_and_the_others_make_up_for_them(
    start_of, monkeypatch, most, dropout
):
    monkeypatch.setattr(cross_fitting, "ENCODINGS", most)
    train, validation = bent_rows(0, 600), bent_rows(1, 20)
    model = start_of(train)
    _, activation, _, last = model.decoder.network
    hidden, read = [], []
    activation.register_forward_hook(lambda *parts: hidden.append(parts[-1]))
    last.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    fit_network(model, encodings_of(model, train, validation, generator()), generator())
    found = torch.cat([b / a for a, b in zip(hidden, read, strict=True) if a.requires_grad])
    dropped = found == 0
    assert float(dropped.float().mean()) == pytest.approx(dropout, abs=0.01)
    torch.testing.assert_close(found[~dropped], torch.full_like(found[~dropped], 1 / (1 - dropout)))


def test_the_rate_falls_to_zero(start_of, monkeypatch):
    made, adam = [], torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *a, **k: made.append(adam(*a, **k)) or made[-1])
    train, validation = bent_rows(0, 60), bent_rows(1, 20)
    model = start_of(train)
    fit_network(model, encodings_of(model, train, validation), generator())
    ((group,),) = [one.param_groups for one in made]
    assert group["initial_lr"] == decoder_network.LEARNING_RATE
    assert group["lr"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.usefixtures("patient")
def test_the_network_says_nothing_of_columns_with_rare_events(start_of):
    train, validation = bent_rows(0, 300), bent_rows(1, 100)
    for rows in (train, validation):
        rows.x[:, 3] = 0.0
        rows.x[:4, 3] = 10.0
    model = start_of(train, sizes=[16, 2, 2])
    fit_network(model, encodings_of(model, train, validation, generator()), generator())
    last = model.decoder.network[-1]
    told = last.weight.abs().sum(dim=1) + last.bias.abs()
    assert told[3] == 0
    assert (told[[0, 1, 2, 4, 5, 6]] > 0).all()
