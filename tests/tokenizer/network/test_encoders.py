"""The encoders of the registry: shapes, gradients, and each category reading only its own."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spinlock.errors import SpinlockError
from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.network import field_encoders, series_encoder  # noqa: F401 they register
from spinlock.tokenizer.network.encoders import (
    NO_NETWORK,
    REGISTRY,
    FamilyColumns,
    FamilyEncoder,
    build_encoder,
)

STEPS, COEFFICIENTS, CHANNELS = 6, 3, 2
# 2 channels × 3 coefficients of a family, between columns 0 and 7 of others
PARTITION = [np.array([1, 2, 6]), np.array([3, 4, 5])]
N_COLUMNS = 8
PLACE = np.arange(N_COLUMNS) - 1


def columns_of_family(**changes) -> FamilyColumns:
    described = {
        "partition": PARTITION,
        "n_columns": N_COLUMNS,
        "channel": PLACE // COEFFICIENTS,
        "coefficient": PLACE % COEFFICIENTS,
        "steps": STEPS,
        "field_channels": CHANNELS,
    }
    return FamilyColumns(**described | changes)


def parameters(name: str, **changes) -> dict:
    return ENCODER_PARAMS[name]().model_dump() | changes


def build(name: str, randomize, **changes) -> FamilyEncoder:
    made = build_encoder(name, columns_of_family(), parameters(name, **changes))
    return randomize(made, 0).eval()


def batch(n_rows: int = 5, grid: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n_rows, N_COLUMNS, generator=generator)
    return x, torch.randn(n_rows, CHANNELS, grid, grid, generator=generator)


every_encoder = pytest.mark.parametrize("name", sorted(REGISTRY))


def test_the_settings_know_the_encoders_of_the_registry():
    assert set(ENCODER_PARAMS) == {NO_NETWORK, *REGISTRY}


def test_an_unknown_encoder_is_an_error_that_lists_the_known_ones():
    with pytest.raises(SpinlockError, match="NoEncoder") as caught:
        build_encoder("NoEncoder", columns_of_family(), {})
    assert all(name in caught.value.remedy for name in ENCODER_PARAMS)


@every_encoder
@pytest.mark.parametrize("training", [False, True])
def test_with_default_settings_each_category_gets_one_vector_per_row(name, training, randomize):
    encoder = build(name, randomize).train(training)
    encoded = encoder(*batch())
    assert encoded.shape == (len(PARTITION), 5, encoder.output_dim)
    assert encoded.isfinite().all()


@every_encoder
def test_gradients_reach_every_weight(name, randomize):
    encoder = build(name, randomize).train()
    weights = torch.randn(len(PARTITION), 5, encoder.output_dim)
    x, fields = batch()
    (encoder(x.requires_grad_(), fields) * weights).sum().backward()
    if name != "InitialCNNEncoder":  # which reads fields only
        assert x.grad[:, [1, 2, 3, 4, 5, 6]].abs().sum(0).min() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@every_encoder
@pytest.mark.parametrize("training", [False, True])
def test_a_category_reads_none_of_the_columns_of_others(name, training, randomize):
    encoder = build(name, randomize, dropout=0.0).train(training)
    x, fields = batch()
    before = encoder(x, fields)
    changed = x.clone()
    changed[:, [0, 7, 3, 4, 5]] = torch.randn(5, 5)
    after = encoder(changed, fields)
    torch.testing.assert_close(after[0], before[0])
    if name != "InitialCNNEncoder":
        assert not torch.allclose(after[1], before[1])


@every_encoder
def test_rows_do_not_influence_one_another_in_evaluation(name, randomize):
    encoder = build(name, randomize).double()
    x, fields = (values.double() for values in batch())
    torch.testing.assert_close(encoder(x, fields)[:, 2:3], encoder(x[2:3], fields[2:3]))


@every_encoder
def test_evaluation_changes_no_buffer(name, randomize):
    encoder = build(name, randomize)
    before = {key: values.clone() for key, values in encoder.state_dict().items()}
    encoder(*batch())
    assert all(torch.equal(values, before[key]) for key, values in encoder.state_dict().items())


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_the_perceptron_of_a_category_is_the_plain_one(activation, randomize):
    encoder = build(
        "MLPEncoder",
        randomize,
        hidden_dims=[5, 4],
        output_dim=3,
        activation=activation,
        batch_norm=False,
    )
    x, _ = batch()
    plain = {
        "relu": torch.relu,
        "gelu": torch.nn.functional.gelu,
        "silu": torch.nn.functional.silu,
        "tanh": torch.tanh,
    }[activation]
    linear = [layer for layer in encoder.network if hasattr(layer, "weight")]
    for c, members in enumerate(PARTITION):
        hidden = x[:, members.tolist()]
        for i, layer in enumerate(linear):
            hidden = hidden @ layer.weight[c] + layer.bias[c]
            hidden = plain(hidden) if i < len(linear) - 1 else hidden
        torch.testing.assert_close(encoder(x, None)[c], hidden)


def test_without_hidden_layers_the_perceptron_is_linear(randomize):
    encoder = build("MLPEncoder", randomize, hidden_dims=[], output_dim=2)
    x, y = torch.randn(2, 4, N_COLUMNS)
    zero = encoder(torch.zeros(4, N_COLUMNS), None)
    torch.testing.assert_close(
        encoder(x + y, None) - zero,
        encoder(x, None) + encoder(y, None) - 2 * zero,
        rtol=1e-4,
        atol=1e-4,
    )
