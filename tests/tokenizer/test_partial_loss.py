"""Partial decoders that go category by category, beside the padded product of the model."""

import pytest
import torch
from torch import Tensor

from spinlock.tokenizer.losses import informativeness_loss
from spinlock.tokenizer.model import ModelShape, TokenizerModel
from spinlock.tokenizer.partial_loss import prefix_error, prefix_squares
from spinlock.tokenizer.rows import Rows
from spinlock.training import objective as objective_module
from spinlock.training.objective import TERMS, LossWeights, Objective

PARTITION = [[4, 0], [1, 2, 7, 5, 6], [3]]  # of unlike size; the embedding holds three at most


@pytest.fixture
def model() -> TokenizerModel:
    """A model with random weights, padding included, as what is padding must not count."""
    shape = ModelShape(
        partition=PARTITION,
        book_sizes=[[8, 4, 2], [4, 4, 4], [2, 2, 2]],
        column_family=["summary"] * 8,
        encoders={"summary": {"encoder": "IdentityEncoder", "encoder_params": {}}},
        embedding_dim=3,
        hidden_dim=4,
        dropout=0.0,
    )
    generator = torch.Generator().manual_seed(3)
    built = TokenizerModel(shape).double()
    with torch.no_grad():
        for values in [*built.parameters(), built.quantizer.all_codes]:
            values.copy_(torch.randn(values.shape, generator=generator).double())
        for c, size in enumerate(built.layout.sizes):  # as in every model, padding is zero
            dim = built.encoder.dims.sizes[c]
            built.quantizer.all_codes[c, :, dim:] = 0
            built.partial.weight.view(3, 3, 3, 5)[:, c, :, size:] = 0
            built.partial.bias.view(3, 3, 1, 5)[:, c, :, size:] = 0
    return built


def gradients(model: TokenizerModel, loss: Tensor) -> list[Tensor]:
    leaves = [model.encoder.linear.weight, model.partial.weight, model.partial.bias]
    return list(torch.autograd.grad(loss, leaves, retain_graph=True))


def test_loss_and_gradients_are_those_of_the_padded_product(model):
    rows = Rows(torch.randn(30, 8, dtype=torch.float64))
    encoded = model.encode(rows)
    decoded = model.decode_partially(encoded.through_levels())
    plain = informativeness_loss(model.layout.gather(rows.x), decoded, model.layout)
    fast = prefix_error(encoded.z, encoded.quantized.prefixes, rows.x, model)
    torch.testing.assert_close(fast, plain)
    expected = gradients(model, 3 * plain)
    for found, wanted in zip(gradients(model, 3 * fast), expected, strict=True):
        assert wanted.any()
        exist = wanted != 0  # the plain one has gradients of padded weights, which nothing reads
        torch.testing.assert_close(found[exist], wanted[exist])


def test_the_objective_is_the_same_either_way(model, monkeypatch):
    rows = Rows(torch.randn(30, 8, dtype=torch.float64))
    found = []
    for fewest in (1, 31):
        monkeypatch.setattr(objective_module, "CATEGORY_ROWS", fewest)
        terms, _ = Objective(model, LossWeights())(rows, rows)
        found.append([terms, *gradients(model, terms[TERMS.index("informativeness")])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.equal(found[0][1], found[1][1])  # two ways, which round differently


def test_the_compiler_knows_what_the_operation_gives_and_its_gradients(model):
    rows = Rows(torch.randn(6, 8, dtype=torch.float64))
    encoded = model.encode(rows)
    partial, layout = model.partial, model.layout
    inputs = (
        encoded.z.detach().requires_grad_(),
        list(encoded.quantized.prefixes),
        rows.x,
        partial.weight,
        partial.bias,
        layout.index,
        layout.sizes,
        model.encoder.dims.sizes,
    )
    found = torch.library.opcheck(prefix_squares, inputs)
    assert set(found.values()) == {"SUCCESS"}
