"""The terms of the loss of a batch, as the model's own outputs give them."""

from dataclasses import replace

import pytest
import torch

from spinlock.tokenizer.network.losses import (
    orthogonality_loss,
    quantization_loss,
    reconstruction_loss,
    topographic_loss,
)
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import Rows
from spinlock.training.objective import TERMS, LossWeights, Objective

WEIGHTS = LossWeights(1.0, 1.0, 0.1, 0.1, 0.3, commitment_cost=0.4, topo_samples=20)


def noisy(rows: Rows) -> Rows:
    return Rows(rows.x + 0.1 * torch.randn(rows.x.shape))


def test_each_term_is_its_loss_of_what_the_model_gives(make_model, train):
    model, rows = make_model().eval(), noisy(train)
    terms, quantized = Objective(model, WEIGHTS)(train, rows)
    encoded = model.encode(rows)
    codes = encoded.z + (encoded.quantized.codes - encoded.z).detach()
    before = [torch.zeros_like(encoded.z), *encoded.quantized.prefixes[:-1]]
    added = [b - a for a, b in zip(before, encoded.quantized.prefixes, strict=True)]
    partial = torch.stack(
        [
            torch.stack(
                [
                    prefix[c] @ model.partial.weight[2 * level + c]
                    + model.partial.bias[2 * level + c]
                    for c in range(2)
                ]
            )
            for level, prefix in enumerate(encoded.quantized.prefixes)
        ]
    )
    dims, layout = model.encoder.dims, model.layout
    wrong = (partial - layout.gather(train.x)).square().sum(dim=(1, 2, 3)) / train.x.numel()
    expected = [
        reconstruction_loss(train.x, model.decoder(codes, 2)),
        quantization_loss(encoded.quantized.residuals, added, dims, 0.4, train_codes=False),
        orthogonality_loss(encoded.z, codes, dims),
        wrong.mean(),
        topographic_loss(train.x[:20], dims.compact(codes)[:20]),
    ]
    torch.testing.assert_close(terms, torch.stack(expected))
    assert torch.equal(quantized.tokens, encoded.quantized.tokens)
    assert len(TERMS) == len(terms)


def test_a_part_of_a_batch_has_its_share_of_what_is_a_mean_over_rows(make_model, train):
    objective, rows = Objective(make_model().eval(), WEIGHTS), noisy(train)
    whole, _ = objective(train, rows)
    part, _ = objective(train, rows, 4 * len(train))
    shares = dict(zip(TERMS, (part / whole).tolist(), strict=True))
    means = ("reconstruction", "vq", "informativeness")
    assert shares == pytest.approx({name: 0.25 if name in means else 1 for name in TERMS})


@pytest.mark.parametrize("name", TERMS[1:])
def test_a_term_of_weight_zero_is_zero_and_leaves_the_others_alone(make_model, train, name):
    model = make_model().eval()
    whole, _ = Objective(model, WEIGHTS)(train, train)
    without, _ = Objective(model, replace(WEIGHTS, **{name: 0.0}))(train, train)
    place = TERMS.index(name)
    assert whole[place] > 0
    assert without[place] == 0
    others = [i for i in range(len(TERMS)) if i != place]
    assert torch.equal(whole[others], without[others])


# torch warns of what it does itself while it traces
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_compiled_step_is_the_plain_one(make_model, train):
    objective = Objective(make_model(), WEIGHTS).train()
    found = []
    for step in (objective, torch.compile(objective, backend="aot_eager", fullgraph=True)):
        torch.manual_seed(0)  # dropout
        terms, quantized = step(train, train)
        weights = [one for one in objective.parameters() if one.requires_grad]
        loss = objective.weighted(terms)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        found.append([terms, quantized.tokens, *(one for one in gradients if one is not None)])
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain)


def test_the_loss_is_the_weighted_sum_of_the_terms(make_model):
    weights = replace(WEIGHTS, **dict(zip(TERMS, [1.0, 2.0, 3.0, 4.0, 5.0], strict=True)))
    objective = Objective(make_model(), weights)
    assert float(objective.weighted(torch.tensor([1.0, 10.0, 100.0, 1e3, 1e4]))) == 54321


def test_every_term_moves_the_encoder(make_model, train):
    model = make_model().eval()
    terms, _ = Objective(model, WEIGHTS)(train, noisy(train))
    for name, term in zip(TERMS, terms, strict=True):
        gradient = torch.autograd.grad(term, model.encoder.linear.weight, retain_graph=True)[0]
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


def code_gradients(model: TokenizerModel, rows: Rows) -> list[torch.Tensor]:
    terms, _ = Objective(model, WEIGHTS)(rows, rows)
    terms[TERMS.index("vq")].backward()
    return list(model.quantizer.all_codes.grad.split(model.quantizer.widths, dim=1))


def test_trained_codes_of_a_level_are_pulled_to_what_that_level_quantises(make_model, train):
    model = make_model(use_ema=False).eval()
    gradients = code_gradients(model, train)
    quantized = model.encode(train).quantized
    n_values = model.encoder.dims.total * len(train)
    for level, gradient in enumerate(gradients):
        for c in range(2):
            codes = model.quantizer.codes(level)[c].detach()
            expected = torch.zeros_like(codes)
            rest = quantized.residuals[level][c].detach()
            for row, k in enumerate(quantized.tokens[level, c].tolist()):
                expected[k] += 2 * (codes[k] - rest[row]) / n_values
            torch.testing.assert_close(gradient[c], expected, rtol=1e-3, atol=1e-5)


def test_rows_that_took_one_code_are_no_pair_however_far_they_are_from_it(make_model, train):
    model = make_model().eval()
    far = Rows(300 * train.x)  # the straight-through sum rounds at the size of the embeddings
    terms, quantized = Objective(model, WEIGHTS)(far, far)
    z = model.encoder(far.x)
    expected = orthogonality_loss(z, quantized.codes, model.encoder.dims)
    torch.testing.assert_close(terms[TERMS.index("orthogonality")], expected, rtol=1e-3, atol=1e-4)


def test_networks_in_bfloat16_leave_codebooks_and_losses_in_float32(make_model, train):
    exact, _ = Objective(make_model().eval(), WEIGHTS)(train, train)
    objective = Objective(make_model().eval(), WEIGHTS, bfloat16=True)
    terms, quantized = objective(train, train)
    assert terms.dtype == torch.float32
    torch.testing.assert_close(terms, exact, rtol=0.05, atol=0.02)
    assert not torch.equal(terms, exact)
    for part in (*quantized.residuals, *quantized.prefixes, *quantized.taken):
        assert part.dtype == torch.float32
    objective.weighted(terms).backward()
    for name, weight in objective.model.named_parameters():
        assert weight.grad is None or weight.grad.dtype == torch.float32, name
    objective.model.quantizer.update_averages(quantized)
