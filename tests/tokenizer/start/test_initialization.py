"""The start from data: the linear paths, books and ridge corrections."""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start import initialization
from spinlock.tokenizer.start.category import Category, categories_of
from spinlock.tokenizer.start.category_axes import principal_axes
from spinlock.tokenizer.start.corrections import fit_corrections
from spinlock.tokenizer.start.cross_fitting import encodings_of
from spinlock.tokenizer.start.initialization import initialize_model
from spinlock.tokenizer.start.rare_events import SeldomEvents

PARTITION = [[0, 2, 4, 6], [1, 3, 5]]
SIZES = [[16, 8, 4], [8, 4, 2]]
LIMITED = [[(1, None), (2, None), (None, None)], [(None, None), (1, None), (3, None)]]


def rows(seed: int, n_rows: int = 300) -> Tensor:
    """Rows of seven columns of three causes, shared by the two categories."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(3, 7))
    x = rng.normal(size=(n_rows, 3)) @ mixing + 0.3 * rng.normal(size=(n_rows, 7))
    return torch.from_numpy(x).float()


def shape_of(sizes: list[list[int]], embedding_dim: int = 3, beam_width: int = 2) -> ModelShape:
    return ModelShape(
        partition=PARTITION,
        book_sizes=sizes,
        column_family=["summary"] * 7,
        encoders={},
        embedding_dim=embedding_dim,
        hidden_dim=4,
        beam_width=beam_width,
    )


def categories(
    x: Tensor, dims: int = 3, caps: Tensor | None = None, levels: list | None = None
) -> list[Category]:
    """Return the two categories as rows x show them."""
    axes = principal_axes(x, PARTITION, dims)
    return categories_of(PARTITION, axes, SeldomEvents.of(x, caps), levels)


def initialized(
    sizes: list[list[int]] = SIZES, seed: int = 0, batch_size: int = 512, **known
) -> TokenizerModel:
    generator = torch.Generator().manual_seed(seed)
    return initialize_model(
        shape_of(sizes),
        categories(rows(0), **known),
        Rows(rows(0)),
        Rows(rows(1)),
        generator,
        batch_size,
    )


def error_of(model: TokenizerModel, x: Tensor, levels: int | None = None) -> float:
    decoded = model.reconstruct(model.tokenize(Rows(x)), levels)
    return float((x - decoded).square().mean())


def test_without_quantisation_the_linear_path_gives_the_columns_back():
    shape, generator = shape_of(SIZES, embedding_dim=4), torch.Generator().manual_seed(0)
    known = categories(rows(0), dims=4)
    model = initialize_model(shape, known, Rows(rows(0)), Rows(rows(1)), generator)
    x = rows(2)
    with torch.no_grad():
        torch.testing.assert_close(
            model.decoder.decode_own(model.encoder(x)), x, rtol=1e-4, atol=1e-4
        )


def test_the_start_lowers_the_error_of_held_out_rows_level_by_level():
    model, x = initialized(), rows(2)
    mean = float((x - rows(0).mean(0)).square().mean())
    left = [error_of(model, x, levels) for levels in (1, 2, 3)]
    assert mean > left[0] > left[1] > left[2]
    assert left[2] < 0.25 * mean


def test_more_codes_leave_less():
    assert error_of(initialized([[64, 16, 8]] * 2), rows(2)) < error_of(initialized(), rows(2))


def test_the_corrections_are_never_worse_on_validation_rows_than_each_category_alone():
    model, x = initialized(), rows(1)
    tokens = model.tokenize(Rows(x))
    for level in range(3):
        with torch.no_grad():
            own = model.decoder.decode_own(model.embed(tokens, level + 1).transpose(0, 1))
        alone = float((x - own).square().mean())
        assert error_of(model, x, level + 1) <= alone * (1 + 1e-6)


def test_the_corrections_use_what_categories_tell_of_one_another():
    model, x = initialized([[8, 2, 2]] * 2), rows(1)
    tokens = model.tokenize(Rows(x))
    with torch.no_grad():
        own = model.decoder.decode_own(model.embed(tokens).transpose(0, 1))
    assert error_of(model, x) < 0.95 * float((x - own).square().mean())


def test_corrections_are_fitted_to_train_rows_and_chosen_by_validation_rows():
    train, validation = Rows(rows(0, n_rows=30)), Rows(rows(1, n_rows=30))
    generator = torch.Generator().manual_seed(0)
    model = initialize_model(shape_of(SIZES), categories(train.x), train, validation, generator)

    def the_same_with(fitted: Rows, chosen_by: Rows) -> bool:
        again = copy.deepcopy(model)
        fit_corrections(again, encodings_of(again, fitted, chosen_by))
        pairs = zip(model.state_dict().values(), again.state_dict().values(), strict=True)
        return all(torch.equal(*pair) for pair in pairs)

    assert the_same_with(train, validation)
    assert not the_same_with(train, train)
    assert not the_same_with(validation, validation)


def test_books_are_fitted_to_some_of_the_train_rows_and_chosen_by_validation_rows(monkeypatch):
    given, best = [], initialization.best_books
    monkeypatch.setattr(initialization, "FIT_ROWS", 100)
    monkeypatch.setattr(
        initialization,
        "best_books",
        lambda *parts, **how: given.append(parts[:2]) or best(*parts, **how),
    )
    axes = principal_axes(rows(0), PARTITION, 3)
    initialized()
    for one, members, (fitted, held_out) in zip(axes, PARTITION, given, strict=True):
        train, validation = (one.project(rows(seed)[:, members]) for seed in (0, 1))
        torch.testing.assert_close(held_out, validation)
        place = torch.cdist(fitted, train).argmin(dim=1)
        torch.testing.assert_close(fitted, train[place])
        assert len(fitted) == 100
        assert (place.diff() > 0).all(), "in their order"
        assert place[-1] > 200, "from all of them"


def test_rows_at_the_caps_have_codes():
    caps = torch.tensor([[-30.0], [30.0]]).repeat(1, 7)
    outliers = rows(0).mean(dim=0) + 30.0 * torch.eye(7)
    with_caps, without = (initialized([[32, 2]] * 2, caps=given) for given in (caps, None))
    assert error_of(with_caps, outliers) < 0.8 * error_of(without, outliers)


def test_partial_decoders_start_as_the_categories_own_decoding():
    model = initialized()
    codes = torch.randn(2, 5, 3)
    for partial in model.partial(codes.repeat(3, 1, 1)).chunk(3):
        assert torch.equal(model.layout.scatter(partial), model.decoder.decode_own(codes))


def test_equal_seeds_give_equal_models_and_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    first = initialized(seed=4).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    second = initialized(seed=4).state_dict()
    assert all(torch.equal(values, second[name]) for name, values in first.items())
    other = initialized(seed=5).state_dict()
    assert not torch.equal(first["quantizer.all_codes"], other["quantizer.all_codes"])


def test_each_code_starts_with_its_share_of_a_batch():
    model = initialized(batch_size=64)
    assert model.quantizer.count(0)[0].tolist() == [4.0] * 16
    assert model.quantizer.count(0)[1].tolist() == [8.0] * 8 + [0.0] * 8


def test_a_level_with_few_latent_dimensions_has_codes_in_so_many():
    model = initialized(levels=LIMITED)
    ranks = [
        [
            int(torch.linalg.matrix_rank(model.quantizer.book(c, level), rtol=1e-4))
            for level in (0, 1)
        ]
        for c in (0, 1)
    ]
    assert ranks == [[1, 2], [3, 1]]
    left = [error_of(model, rows(2), levels) for levels in (1, 2, 3)]
    assert left[0] > left[1] > left[2]


def test_restricted_levels_choose_the_same_codes_in_training_and_afterwards():
    model = initialized(levels=LIMITED)
    with torch.no_grad():
        z = model.encoder(rows(2))
        greedy = model.quantizer(z)
    assert torch.equal(model.tokenize(Rows(rows(2)), beam=1), greedy.tokens.permute(2, 1, 0))


def test_levels_of_all_dimensions_are_not_restricted():
    shape = shape_of(SIZES, embedding_dim=4)  # of which the second category has three
    limits = [[(4, None), (None, None), (4, None)], [(3, None), (4, None), (3, None)]]
    plain, limited = (
        initialize_model(
            shape,
            categories(rows(0), dims=4, levels=levels),
            Rows(rows(0)),
            Rows(rows(1)),
            torch.Generator().manual_seed(0),
        )
        for levels in (None, limits)
    )
    assert torch.equal(limited.quantizer.all_codes, plain.quantizer.all_codes)


def test_restricted_levels_keep_their_subspace_for_training():
    quantizer = initialized(levels=LIMITED).quantizer
    ranks = [[round(float(one.trace())) for one in quantizer.spaces(c, 3)] for c in (0, 1)]
    assert ranks == [[1, 2, 3], [3, 1, 3]]
    assert not initialized().quantizer.spaces(0, 3)


def with_few_values(seed: int, n_rows: int = 600) -> Tensor:
    """Rows whose first category takes few values; the other is one cause."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 1)) + 0.05 * rng.normal(size=(n_rows, 7))
    x[:, PARTITION[0]] = rng.integers(0, 4, (n_rows, 4))
    return torch.from_numpy(x).float()


def test_levels_tell_parts_where_unseen_rows_are_told_better_so():
    train, unseen = with_few_values(0), with_few_values(1)
    shape = shape_of([[4, 4, 16], [8, 4, 2]], embedding_dim=4)
    whole = categories(train, dims=4)
    columns = [[[0], [1], [2, 3]], [[0], [1], [2]]]
    parts = [
        [one.axes.analysis[part] for part in of_category]
        for one, of_category in zip(whole, columns, strict=True)
    ]
    in_parts = [replace(one, parts=own) for one, own in zip(whole, parts, strict=True)]
    validation = Rows(with_few_values(2))
    models = [
        initialize_model(shape, known, Rows(train), validation, torch.Generator().manual_seed(0))
        for known in (in_parts, whole)
    ]
    quantizers = [one.quantizer for one in models]
    for space, part in zip(quantizers[0].spaces(0, 4), parts[0], strict=True):
        assert torch.equal(space, part.T @ part)
    assert not quantizers[0].spaces(1, 3)
    for level, part in enumerate(parts[0]):
        book = quantizers[0].book(0, level)
        torch.testing.assert_close(book @ part.T @ part, book, atol=1e-5, rtol=1e-5)
    left = [
        (unseen - one.reconstruct(one.tokenize(Rows(unseen))))[:, PARTITION[0]].abs().max()
        for one in models
    ]
    assert left[0] < 0.2 < left[1]


def test_levels_tell_parts_where_held_out_rows_are_told_as_well_by_residuals(monkeypatch):
    fitted = torch.tensor([0.0] * 500 + [1.0] * 100 + [5.0] * 3).unsqueeze(1)
    parts = [torch.eye(1), torch.eye(1)[:0], torch.eye(1)[:0]]
    residual = [torch.tensor([[0.0], [1.0], [1.1]]), torch.zeros(1, 1), torch.zeros(1, 1)]
    monkeypatch.setattr(initialization, "best_books", lambda *_, **__: residual)
    (axes,) = principal_axes(fitted, [[0]], 1)
    category = Category([0], axes, fitted.new_empty(0, 2, 1), fitted[:0], parts=parts)
    held_out, generator = fitted[:600:50], torch.Generator().manual_seed(0)
    books, spaces = initialization._books_of_category(
        fitted, held_out, [3, 1, 1], category, 2, generator
    )
    assert spaces is parts
    assert books[0].flatten().tolist() == [0.0, 1.0, 5.0]


def test_books_are_compared_with_the_beam_of_the_model(monkeypatch):
    beams, best = [], initialization.best_books
    monkeypatch.setattr(
        initialization,
        "best_books",
        lambda *parts, **how: beams.append(parts[-1]) or best(*parts, **how),
    )
    assert initialized().shape.beam_width == 2
    assert beams == [2, 2]


def fitted_by_books(
    monkeypatch, train: Tensor, validation: Tensor, caps: Tensor | None = None
) -> list[Tensor]:
    """Return the rows that the books of categories [0, 1], [2] are fitted and chosen by."""
    given, best = [], initialization.best_books
    monkeypatch.setattr(
        initialization,
        "best_books",
        lambda *parts, **how: given.extend(parts[:2]) or best(*parts, **how),
    )
    shape = ModelShape([[0, 1], [2]], [[4, 2]] * 2, ["summary"] * 3, {}, embedding_dim=2)
    axes = principal_axes(train, shape.partition, 2)
    generator = torch.Generator().manual_seed(0)
    known = categories_of(shape.partition, axes, SeldomEvents.of(train, caps))
    initialize_model(shape, known, Rows(train), Rows(validation), generator)
    return given


def test_books_are_fitted_and_chosen_with_rare_events_in_new_combinations(monkeypatch):
    train, validation = torch.randn(400, 3), torch.randn(50, 3)
    train[:, 0] = 0
    train[7, 0] = 20.0
    lengths = [len(one) for one in fitted_by_books(monkeypatch, train, validation)]
    assert lengths == [800, 800, 400, 50]


def test_the_caps_that_train_rows_do_not_reach_are_outliers_whatever_validation_rows_do(
    monkeypatch,
):
    train, validation = torch.randn(400, 3), torch.randn(50, 3)
    caps = torch.tensor([[-9.0], [9.0]]).repeat(1, 3)
    validation[0] = 9.0
    lengths = [len(one) for one in fitted_by_books(monkeypatch, train, validation, caps=caps)]
    assert lengths == [404, 50, 402, 50]
