"""Feature families: the registry of encoders and the parameters that each of them takes."""

import pytest
from pydantic import ValidationError

from spinlock.settings.families import ENCODER_PARAMS, Family


@pytest.mark.parametrize("encoder", ENCODER_PARAMS)
@pytest.mark.parametrize("params", [None, {}])
def test_every_encoder_works_without_parameters(encoder, params):
    family = Family(encoder=encoder, encoder_params=params)
    assert type(family.encoder_params) is ENCODER_PARAMS[encoder]


def test_a_family_without_an_encoder_is_read_by_a_perceptron():
    assert Family() == Family(encoder="MLPEncoder", encoder_params={"hidden_dims": [256, 128]})


@pytest.mark.parametrize("encoder", ENCODER_PARAMS)
def test_parameters_come_back_from_plain_values(encoder):
    family = Family(encoder=encoder)
    assert Family.model_validate(family.model_dump(mode="json")) == family


@pytest.mark.parametrize(
    ("encoder", "key"),
    [
        (encoder, key)
        for encoder, own in ENCODER_PARAMS.items()
        for params in ENCODER_PARAMS.values()
        for key in params.model_fields
        if key not in own.model_fields
    ],
)
def test_an_encoder_takes_no_parameter_of_another(encoder, key):
    with pytest.raises(ValidationError, match=key):
        Family(encoder=encoder, encoder_params={key: 3})


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 31])
def test_kernels_on_a_grid_are_odd(kernel_size):
    family = Family(encoder="InitialHybridEncoder", encoder_params={"kernel_size": kernel_size})
    assert family.encoder_params.kernel_size == kernel_size
    with pytest.raises(ValidationError, match="odd"):
        Family(encoder="InitialHybridEncoder", encoder_params={"kernel_size": kernel_size + 1})
