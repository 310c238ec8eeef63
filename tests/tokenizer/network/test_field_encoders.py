"""The encoders of fields: which grids they take, and that fields are periodic."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spinlock.errors import SpinlockError
from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.network.encoders import FamilyColumns, FamilyEncoder
from spinlock.tokenizer.network.field_encoders import (
    FieldReader,
    InitialCNNEncoder,
    InitialHybridEncoder,
)

PARTITION = [np.array([1, 2, 6]), np.array([3, 4, 5])]
N_COLUMNS, CHANNELS = 8, 2


def parameters(encoder: type[FamilyEncoder], **changes) -> dict:
    return ENCODER_PARAMS[encoder.__name__]().model_dump() | changes


def build(encoder: type[FamilyEncoder], randomize, **changes) -> FamilyEncoder:
    columns = FamilyColumns(PARTITION, N_COLUMNS, field_channels=CHANNELS)
    return randomize(encoder(columns, parameters(encoder, **changes)), 0).eval()


def batch(n_rows: int = 5, grid: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n_rows, N_COLUMNS, generator=generator)
    return x, torch.randn(n_rows, CHANNELS, grid, grid, generator=generator)


every_encoder = pytest.mark.parametrize("encoder", [InitialCNNEncoder, InitialHybridEncoder])


@every_encoder
def test_a_dataset_without_fields_has_no_encoder_of_fields(encoder):
    with pytest.raises(SpinlockError, match="initial fields"):
        encoder(FamilyColumns(PARTITION, N_COLUMNS), parameters(encoder))


@every_encoder
def test_rows_without_fields_are_an_error(encoder, randomize):
    with pytest.raises(SpinlockError, match="initial fields"):
        build(encoder, randomize)(batch()[0], None)


@every_encoder
@pytest.mark.parametrize("grid", [1, 2, 3, 4, 7])
def test_tiny_grids_can_be_read(encoder, grid, randomize):
    assert build(encoder, randomize)(*batch(grid=grid)).isfinite().all()


@pytest.mark.parametrize("kernel_size", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("n_convolutions", [1, 2, 3])
def test_fields_are_too_small_where_a_convolution_cannot_wrap_around(kernel_size, n_convolutions):
    params = {"channels": [2] * n_convolutions, "kernel_size": kernel_size, "activation": "relu"}
    reader = FieldReader(1, params)
    least = reader.smallest_grid
    assert reader(torch.zeros(1, 1, least, 30)).shape == (1, reader.output_dim)
    if least > 1:
        with pytest.raises(RuntimeError, match="wrapping"):
            reader.network(torch.zeros(1, 1, 30, least - 1))
    with pytest.raises(SpinlockError, match=f"they take {least} or more"):
        reader(torch.zeros(1, 1, 30, least - 1))


@every_encoder
def test_fields_matter(encoder, randomize):
    built = build(encoder, randomize)
    x, fields = batch()
    assert not torch.allclose(built(x, fields), built(x, fields + 1))


@every_encoder
def test_fields_are_periodic(encoder, randomize):
    # by as many points as all poolings together keep apart
    built = build(encoder, randomize, channels=[3])
    _, fields = batch(grid=8)
    built.reader.network[-2] = torch.nn.AdaptiveAvgPool2d(1)
    shifted = built.reader.network(fields.roll((2, 4), dims=(2, 3)))
    torch.testing.assert_close(shifted, built.reader.network(fields), rtol=1e-4, atol=1e-5)
