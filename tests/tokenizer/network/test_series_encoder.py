"""The encoder of series sees curves, and refuses families that are none."""

import numpy as np
import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.features.series import restore_series
from spinlock.settings.families import TemporalCNNParams
from spinlock.tokenizer.network.encoders import FamilyColumns
from spinlock.tokenizer.network.series_encoder import TemporalCNNEncoder

STEPS, COEFFICIENTS, CHANNELS = 6, 3, 2
# 2 channels × 3 coefficients of a family, between columns 0 and 7 of others
PARTITION = [np.array([1, 2, 6]), np.array([3, 4, 5])]
N_COLUMNS = 8
PLACE = np.arange(N_COLUMNS) - 1
PARAMS = TemporalCNNParams().model_dump()


def columns_of_family(**changes) -> FamilyColumns:
    described = {
        "partition": PARTITION,
        "n_columns": N_COLUMNS,
        "channel": PLACE // COEFFICIENTS,
        "coefficient": PLACE % COEFFICIENTS,
        "steps": STEPS,
    }
    return FamilyColumns(**described | changes)


def test_the_temporal_encoder_sees_the_curves_that_the_coefficients_describe(randomize):
    encoder = randomize(TemporalCNNEncoder(columns_of_family(), PARAMS), 0).eval()
    x = torch.randn(5, N_COLUMNS)
    curves = torch.bmm(encoder.layout.gather(x), encoder.curves).unflatten(2, (-1, STEPS))
    for c, members in enumerate(PARTITION):
        own = np.zeros((5, CHANNELS * COEFFICIENTS), np.float32)
        own[:, members - 1] = x[:, members.tolist()]
        restored = restore_series(own, STEPS, COEFFICIENTS)
        for row, channel in enumerate(np.unique(PLACE[members] // COEFFICIENTS)):
            np.testing.assert_allclose(curves[c, :, row], restored[:, :, channel], atol=1e-5)


def test_a_family_without_series_has_no_temporal_encoder():
    with pytest.raises(SpinlockError, match="series"):
        TemporalCNNEncoder(columns_of_family(channel=None), PARAMS)


def test_no_rows_give_no_rows():
    encoder = TemporalCNNEncoder(columns_of_family(), PARAMS).eval()
    assert encoder(torch.zeros(0, N_COLUMNS), None).shape == (2, 0, encoder.output_dim)
