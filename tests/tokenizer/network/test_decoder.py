"""The joint decoder against its equation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spinlock.tokenizer.network.decoder import JointDecoder
from spinlock.tokenizer.network.layout import CategoryLayout, EmbeddingDims

PARTITION = [np.array([0, 3, 1]), np.array([4, 2])]


def make_decoder() -> JointDecoder:
    """Return a decoder of embeddings of width 4, of which the second category has two."""
    dims = EmbeddingDims([4, 2], 4)
    return JointDecoder(CategoryLayout(PARTITION, 5), dims, n_levels=2, hidden_dim=6, dropout=0.5)


@pytest.fixture
def decoder(randomize) -> JointDecoder:
    made = make_decoder()
    return randomize(made, 0).eval()


def own_by_loop(decoder: JointDecoder, codes: Tensor) -> Tensor:
    columns = torch.empty(codes.shape[1], 5)
    for c, members in enumerate(PARTITION):
        decoded = codes[c] @ decoder.own.weight[c] + decoder.own.bias[c]
        columns[:, members.tolist()] = decoded[:, : len(members)]
    return columns


def compact_by_loop(codes: Tensor) -> Tensor:
    return torch.cat([codes[0], codes[1][:, :2]], dim=1)


@torch.no_grad()
def test_each_column_is_decoded_by_its_own_category(decoder):
    codes = torch.randn(2, 7, 4)
    torch.testing.assert_close(decoder.decode_own(codes), own_by_loop(decoder, codes))


@torch.no_grad()
def test_a_prefix_adds_the_correction_of_its_own_level(decoder):
    codes = torch.randn(2, 7, 4)
    own, side_by_side = own_by_loop(decoder, codes), compact_by_loop(codes)
    expected = own + side_by_side @ decoder.cross[0] + decoder.offset[0]
    torch.testing.assert_close(decoder(codes, 0), expected)


@torch.no_grad()
def test_the_full_depth_adds_the_network_of_all_codes(decoder):
    codes = torch.randn(2, 7, 4)
    own, side_by_side = own_by_loop(decoder, codes), compact_by_loop(codes)
    linear = own + side_by_side @ decoder.cross[1] + decoder.offset[1]
    expected = linear + decoder.network(side_by_side)
    torch.testing.assert_close(decoder(codes, 1), expected)


@torch.no_grad()
def test_correction_and_network_start_at_zero():
    fresh = make_decoder()
    fresh.own.weight.normal_()
    codes = torch.randn(2, 7, 4)
    for level in (0, 1):
        assert torch.equal(fresh(codes, level), fresh.decode_own(codes))
