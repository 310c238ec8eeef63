"""One category at a time: the same embeddings and tokens as all categories together."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.network.category_path import CategoryPath, families_read_together
from spinlock.tokenizer.network.codebook import residual_tokens
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.network.threads import map_parts

STEPS = 4
MLPS = {
    "plain": {"hidden_dims": [5], "output_dim": 3, "batch_norm": False, "activation": "relu"},
    "normalised": {"hidden_dims": [4, 6], "output_dim": 2, "batch_norm": True},
}


def mlp(kind: str) -> dict:
    params = ENCODER_PARAMS["MLPEncoder"](**MLPS[kind]).model_dump()
    return {"encoder": "MLPEncoder", "encoder_params": params}


def other(name: str) -> dict:
    return {"encoder": name, "encoder_params": ENCODER_PARAMS[name]().model_dump()}


ENCODERS = {
    "mlps": {"one": mlp("plain"), "two": mlp("normalised")},
    "beside one": {"one": other("IdentityEncoder"), "two": mlp("normalised")},
    "none": {"one": other("IdentityEncoder"), "two": other("IdentityEncoder")},
    "convolutions": {"one": other("TemporalCNNEncoder"), "two": mlp("plain")},
    "fields": {"one": other("InitialCNNEncoder"), "two": other("InitialHybridEncoder")},
}


@st.composite
def models(draw) -> tuple[TokenizerModel, Rows]:
    """A model with random weights, whose categories hold one or both families, and rows."""
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    sizes = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    ends = np.cumsum(sizes)
    columns = rng.permutation(ends[-1])
    shape = ModelShape(
        partition=[np.sort(part).tolist() for part in np.split(columns, ends[:-1])],
        book_sizes=rng.integers(1, 9, (len(sizes), 3)).tolist(),
        column_family=["one", *rng.choice(["one", "two"], ends[-1] - 1)],
        encoders=ENCODERS[draw(st.sampled_from(sorted(ENCODERS)))],
        embedding_dim=draw(st.integers(1, 6)),
        hidden_dim=5,
        series={
            "one": {
                "steps": STEPS,
                "channel": [i // STEPS for i in range(ends[-1])],
                "coefficient": [i % STEPS for i in range(ends[-1])],
            }
        },
        field_channels=1,
    )
    n_rows = draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_rows, int(ends[-1]), generator=generator)
    fields = torch.randn(n_rows, 1, 4, 4, generator=generator)
    # in double precision no two codes are equally near but for rounding
    return TokenizerModel(shape).eval().double(), Rows(x.double(), fields.double())


modest = settings(max_examples=40, deadline=None)


@modest
@given(models())
def test_a_path_embeds_its_category_as_all_together_do(randomize, case):
    model, rows = case
    encoder = randomize(model, 0).encoder
    networks = {family: encoder.networks[family] for family in families_read_together(encoder)}
    with torch.no_grad():
        expected = encoder(rows.x, rows.fields)
        read = {family: network(rows.x, rows.fields) for family, network in networks.items()}
        for c, dims in enumerate(encoder.dims.sizes):
            embedded = CategoryPath(encoder, c).embed(rows.x, read)
            torch.testing.assert_close(embedded, expected[c, :, :dims])


@modest
@given(models(), st.sampled_from([1, 3]))
def test_tokens_are_those_that_all_categories_together_give(randomize, case, beam):
    model, rows = case
    randomize(model, 0).quantizer.all_codes.mul_(model.encoder.dims.mask)  # padding is zero
    with torch.no_grad():
        z = model.encoder(rows.x, rows.fields)
        expected = [residual_tokens(z[c], model.quantizer.books(c), beam) for c in range(len(z))]
    assert torch.equal(model.tokenize(rows, beam), torch.stack(expected, dim=1))


@pytest.mark.parametrize("threads", [2, 3])
def test_tokens_do_not_depend_on_the_number_of_threads(randomize, threads):
    shape = ModelShape([[0, 2], [1, 3, 4]], [[8, 4], [4, 8]], ["two"] * 5, ENCODERS["mlps"])
    model = randomize(TokenizerModel(shape), 0).eval()
    rows = Rows(torch.randn(1100, 5, generator=torch.Generator().manual_seed(0)))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = model.tokenize(rows)
        torch.set_num_threads(threads)
        assert torch.equal(model.tokenize(rows), alone)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_parts_come_back_in_order_without_gradients_and_mistakes_pass_through(threads):
    weight = torch.ones(1, requires_grad=True)
    blocks = [slice(first, first + 2) for first in range(0, 20, 2)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        done = map_parts(lambda block: (block, (weight * 2).requires_grad), blocks)
        assert done == [(block, False) for block in blocks]
        within = map_parts(lambda _: map_parts(lambda _: torch.get_num_threads(), "ab"), "cd")
        assert within == [[1, 1], [1, 1]]
        with pytest.raises(ZeroDivisionError):
            map_parts(lambda block: 1 / (block.start - 6), blocks)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
