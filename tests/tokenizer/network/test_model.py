"""The whole model: what its tokens depend on, and what evaluation leaves alone."""

import pytest
import torch

from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.network.category_encoder import family_columns, module_name
from spinlock.tokenizer.network.category_path import CategoryPath
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.category import categories_of
from spinlock.tokenizer.start.category_axes import principal_axes
from spinlock.tokenizer.start.initialization import initialize_model
from spinlock.tokenizer.start.rare_events import SeldomEvents

STEPS, COEFFICIENTS = 6, 2
# temporal: 3 channels × 2 coefficients at columns 4..9
COLUMN_FAMILY = ["architecture"] * 2 + ["summary"] * 2 + ["temporal"] * 6 + ["initial"] * 2
PLACE = [i - 4 for i in range(12)]
PARTITION = [[0, 2, 4, 5, 10], [1, 3, 6, 7], [8, 9, 11]]
ENCODERS = {
    "architecture": "IdentityEncoder",
    "summary": "MLPEncoder",
    "temporal": "TemporalCNNEncoder",
    "initial": "InitialHybridEncoder",
}


def make_shape(**changes) -> ModelShape:
    described = {
        "partition": PARTITION,
        "book_sizes": [[8, 4, 4], [4, 8, 2], [2, 2, 2]],
        "column_family": COLUMN_FAMILY,
        "encoders": {
            family: {"encoder": name, "encoder_params": ENCODER_PARAMS[name]().model_dump()}
            for family, name in ENCODERS.items()
        },
        "embedding_dim": 4,
        "hidden_dim": 6,
        "beam_width": 2,
        "series": {
            "temporal": {
                "steps": STEPS,
                "channel": [place // COEFFICIENTS for place in PLACE],
                "coefficient": [place % COEFFICIENTS for place in PLACE],
            }
        },
        "field_channels": 1,
    }
    return ModelShape(**described | changes)


@pytest.fixture
def model(randomize) -> TokenizerModel:
    return randomize(TokenizerModel(make_shape()), 1).eval()


def make_rows(n_rows: int = 200, seed: int = 2) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_rows, 12, generator=generator)
    return Rows(x, torch.randn(n_rows, 1, 6, 6, generator=generator))


@pytest.mark.parametrize("category", range(3))
@pytest.mark.parametrize("beam", [1, 4])
def test_the_tokens_of_a_category_depend_on_its_own_columns_only(model, category, beam):
    rows = make_rows()
    others = [i for c, members in enumerate(PARTITION) if c != category for i in members]
    changed = Rows(rows.x.clone(), rows.fields)
    changed.x[:, others] = torch.randn(len(rows), len(others))
    before, after = model.tokenize(rows, beam), model.tokenize(changed, beam)
    assert torch.equal(before[:, category], after[:, category])
    assert not torch.equal(before, after)


def test_the_tokens_of_a_row_do_not_depend_on_the_others(model):
    rows = make_rows()
    assert torch.equal(model.tokenize(rows.take(torch.tensor([7]))), model.tokenize(rows)[7:8])


def test_tokenizing_and_reconstructing_change_no_weight_and_no_buffer(model):
    before = {name: values.clone() for name, values in model.state_dict().items()}
    model.reconstruct(model.tokenize(make_rows()))
    model.encode(make_rows())
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_decoding_greedy_tokens_is_what_the_training_path_computes(model):
    rows = make_rows()
    with torch.no_grad():
        codes = model.encode(rows).quantized.codes
        expected = model.decoder(codes, model.n_levels - 1)
    torch.testing.assert_close(model.reconstruct(model.tokenize(rows, beam=1)), expected)


def test_the_training_path_has_the_codes_with_the_gradient_of_the_embeddings(model):
    encoded = model.encode(make_rows())
    encoded.z.retain_grad()
    through = encoded.through()
    torch.testing.assert_close(through, encoded.quantized.codes)
    assert not torch.allclose(through, encoded.z)
    weights = torch.randn_like(through)
    (through * weights).sum().backward()
    assert torch.equal(encoded.z.grad, weights)


def test_drafts_follow_as_many_encodings_as_tokens(start_of, draw_rows):
    model, rows = start_of(draw_rows(0, 200)), draw_rows(1, 200)

    @torch.no_grad()
    def missed(tokens: torch.Tensor) -> float:
        z = model.encoder(rows.x, rows.fields).transpose(0, 1)
        return float((z - model.embed(tokens)).square().sum())

    greedy, tokens = missed(model.tokenize(rows, beam=1)), missed(model.tokenize(rows))
    assert missed(model.draft_tokens(rows)) == pytest.approx(tokens, rel=1e-5)
    assert tokens < 0.999 * greedy


def test_a_prefix_is_decoded_with_the_correction_of_its_own_last_level(model):
    tokens = model.tokenize(make_rows())
    with torch.no_grad():
        for levels in (1, 2, 3):
            codes = model.quantizer.decode(tokens.transpose(0, 1), levels)
            expected = model.decoder(codes, levels - 1)
            torch.testing.assert_close(model.reconstruct(tokens, levels), expected)


def test_a_prefix_is_decoded_from_its_own_levels_only(model):
    tokens = model.tokenize(make_rows())
    changed = tokens.clone()
    changed[..., 2] = 1 - changed[..., 2].clamp_max(1)
    assert torch.equal(model.reconstruct(tokens, 2), model.reconstruct(changed, 2))
    assert not torch.equal(model.reconstruct(tokens), model.reconstruct(changed))
    assert torch.equal(model.reconstruct(tokens, 3), model.reconstruct(tokens))


def test_embeddings_are_the_sums_of_the_code_vectors(model):
    tokens = model.tokenize(make_rows(5))
    for levels in (1, 3):
        embedded = model.embed(tokens, levels)
        for row in range(5):
            for c in range(3):
                expected = sum(
                    model.quantizer.book(c, level)[tokens[row, c, level]] for level in range(levels)
                )
                torch.testing.assert_close(embedded[row, c], expected)


def test_embeddings_have_no_more_dimensions_than_the_category_has_columns(model):
    with torch.no_grad():
        z = model.encoder(make_rows().x, make_rows().fields)
    assert z.shape == (3, 200, 4)
    assert not z[2, :, 3:].any()
    assert z[0].any(0).all()
    assert TokenizerModel(make_shape(embedding_dim=50)).quantizer.dim == 5


def test_a_family_without_a_network_has_its_place_in_the_linear_path_alone(model):
    assert sorted(model.encoder.networks) == ["initial", "summary", "temporal"]


def test_the_networks_start_silent_so_that_the_start_is_linear():
    model, rows = TokenizerModel(make_shape()).eval(), make_rows()
    torch.nn.init.normal_(model.encoder.linear.weight)
    with torch.no_grad():
        linear = model.encoder.linear(model.layout.gather(rows.x)) * model.encoder.dims.mask
        assert torch.equal(model.encoder(rows.x, rows.fields), linear)


def test_the_networks_are_trained_from_the_start():
    model, rows = TokenizerModel(make_shape()), make_rows()
    model.encoder(rows.x, rows.fields).square().sum().backward()
    assert model.encoder.head.weight.grad is not None
    torch.nn.init.normal_(model.encoder.head.weight)
    model.encoder(rows.x, rows.fields).square().sum().backward()
    for name, weight in model.encoder.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


def test_a_family_of_no_column_has_no_network():
    shape = make_shape(column_family=["summary"] * 12)
    assert list(TokenizerModel(shape).encoder.networks) == ["summary"]


@pytest.mark.parametrize("family", ["my.family", "type", "training", "keys", "a%", "100 %."])
def test_a_family_may_have_any_name(family, randomize):
    params = ENCODER_PARAMS["MLPEncoder"]().model_dump()
    choice = {"encoder": "MLPEncoder", "encoder_params": params}
    shape = make_shape(column_family=[family] * 12, encoders={family: choice}, series={})
    encoder = randomize(TokenizerModel(shape), 1).eval().encoder.double()
    x = make_rows().x.double()
    with torch.no_grad():
        z = encoder(x)
        for c in range(3):
            one = CategoryPath(encoder, c).embed(x, {})
            torch.testing.assert_close(one, z[c, :, : one.shape[1]])


def test_names_of_families_that_torch_takes_are_kept_and_others_never_meet():
    assert module_name("summary") == "summary"
    hostile = ["a.b", "a%2Eb", "type", "type%", "type%25", "a_b"]
    assert len({module_name(name) for name in hostile}) == len(hostile)


def test_the_columns_of_a_family_are_listed_by_category():
    columns, categories = family_columns(make_shape(), "temporal")
    assert categories == [0, 1, 2]
    assert [part.tolist() for part in columns.partition] == [[4, 5], [6, 7], [8, 9]]
    assert columns.steps == STEPS
    columns, categories = family_columns(make_shape(), "initial")
    assert categories == [0, 2]
    assert columns.steps is None


def test_one_category_and_one_level_are_enough(randomize):
    shape = make_shape(partition=[list(range(12))], book_sizes=[[16]])
    model = randomize(TokenizerModel(shape), 0).eval()
    tokens = model.tokenize(make_rows())
    assert tokens.shape == (200, 1, 1)
    assert model.reconstruct(tokens).shape == (200, 12)


def test_weights_of_a_model_with_restricted_levels_can_be_loaded():
    shape, rows = make_shape(), make_rows()
    axes, events = principal_axes(rows.x, PARTITION, 4), SeldomEvents.of(rows.x)
    levels = [[(1, None), (2, None), (None, None)]] * 3
    categories = categories_of(PARTITION, axes, events, levels)
    model = initialize_model(shape, categories, rows, rows, torch.Generator().manual_seed(0))
    again = TokenizerModel(shape)
    again.load_weights(model.state_dict())
    again.eval()
    with torch.no_grad():
        expected, found = model.encode(rows).quantized, again.encode(rows).quantized
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.equal(found.residuals[0], expected.residuals[0])


def test_rows_are_taken_with_their_fields():
    rows, index = make_rows(), torch.tensor([3, 1])
    taken = rows.take(index)
    assert torch.equal(taken.x, rows.x[index])
    assert torch.equal(taken.fields, rows.fields[index])
    assert len(taken) == 2
    assert Rows(rows.x).take(index).fields is None
