"""Residual quantisation against brute force in float64 and against plain loops."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spinlock.tokenizer.network import quantizer
from spinlock.tokenizer.network.codebook import residual_tokens
from spinlock.tokenizer.network.quantizer import (
    Quantized,
    ResidualQuantizer,
    straight_through,
)

modest = settings(deadline=None, max_examples=40)
SMOOTHING = 1e-5


def on_grid(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Small integers: exact in float32, so that ties are ties and nothing is left to rounding."""
    return torch.randint(-4, 5, tuple(shape), generator=generator).float()


def anywhere(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.randn(tuple(shape), generator=generator)


def make_quantizer(sizes, dim, generator, values=anywhere, **options) -> ResidualQuantizer:
    quantizer = ResidualQuantizer(sizes, dim, **options)
    quantizer.set_books([[values((k, dim), generator) for k in levels] for levels in sizes])
    return quantizer


def encode(quantizer: ResidualQuantizer, z: Tensor, beam: int) -> Tensor:
    """Tokens [C, B, L] by a search in each category's own books."""
    return torch.stack([residual_tokens(z[c], quantizer.books(c), beam) for c in range(len(z))])


@st.composite
def cases(draw, values=anywhere) -> tuple[ResidualQuantizer, Tensor]:
    """A quantizer with books of unequal sizes, and rows for it."""
    n_levels = draw(st.integers(1, 3))
    sizes = draw(
        st.lists(
            st.lists(st.integers(1, 7), min_size=n_levels, max_size=n_levels),
            min_size=1,
            max_size=3,
        )
    )
    dim, n_rows = draw(st.integers(1, 4)), draw(st.integers(1, 20))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    quantizer = make_quantizer(sizes, dim, generator, values)
    return quantizer, values((len(sizes), n_rows, dim), generator)


def books_of(quantizer: ResidualQuantizer, category: int) -> list[np.ndarray]:
    return [
        quantizer.book(category, level).detach().double().numpy()
        for level in range(quantizer.n_levels)
    ]


def tokens_by_loop(z: np.ndarray, books: list[np.ndarray]) -> list[list[int]]:
    """Greedy residual tokens [B][L] of rows [B, E], the first of equally near codes."""
    found = []
    for row in z:
        rest, tokens = row.astype(np.float64), []
        for codes in books:
            tokens.append(int(np.argmin([((rest - code) ** 2).sum() for code in codes])))
            rest = rest - codes[tokens[-1]]
        found.append(tokens)
    return found


@modest
@given(cases(on_grid))
def test_each_level_takes_the_nearest_code_and_of_equals_the_lowest_index(case):
    quantizer, z = case
    tokens = quantizer(z).tokens
    for c in range(quantizer.n_categories):
        assert tokens[:, c].T.tolist() == tokens_by_loop(z[c].numpy(), books_of(quantizer, c))


@modest
@given(cases())
def test_no_code_is_nearer_than_the_one_taken_beyond_rounding(case):
    quantizer, z = case
    quantized = quantizer(z)
    for c in range(quantizer.n_categories):
        for level, codes in enumerate(books_of(quantizer, c)):
            rest = quantized.residuals[level][c].double().numpy()
            distances = ((rest[:, None] - codes) ** 2).sum(-1)
            taken = distances[np.arange(len(rest)), quantized.tokens[level, c]]
            assert (taken <= distances.min(1) + 1e-5 * (1 + (rest**2).sum(1))).all()


@modest
@given(case=cases(on_grid), most=st.integers(1, 60))
def test_rows_that_are_compared_one_block_after_another_get_the_same_codes(case, most):
    model, z = case
    at_once = model(z).tokens
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizer, "MOST_SCORES", most)
        patch.setattr(quantizer, "FEWEST_ROWS", 1)
        assert torch.equal(model(z).tokens, at_once)


@modest
@given(cases(on_grid))
def test_encoding_with_a_beam_of_one_gives_the_greedy_tokens(case):
    quantizer, z = case
    assert torch.equal(encode(quantizer, z, 1), quantizer(z).tokens.permute(1, 2, 0))


def test_a_wider_beam_leaves_less_error():
    generator = torch.Generator().manual_seed(0)
    quantizer = make_quantizer([[8, 8], [8, 8]], 3, generator)
    z = anywhere((2, 200, 3), generator)
    errors = [
        float((z - quantizer.decode(encode(quantizer, z, beam))).square().sum())
        for beam in (1, 2, 8)
    ]
    assert errors[0] > 1.01 * errors[1] > errors[2]


@modest
@given(cases())
def test_decoding_the_tokens_gives_what_quantisation_gave_at_every_level(case):
    quantizer, z = case
    quantized, tokens = quantizer(z), encode(quantizer, z, 1)
    for level, prefix in enumerate(quantized.prefixes):
        assert torch.equal(quantizer.decode(tokens, level + 1), prefix)
    assert torch.equal(quantizer.decode(tokens), quantized.codes)


@modest
@given(cases())
def test_what_a_level_quantises_is_the_input_less_the_levels_before(case):
    quantizer, z = case
    quantized = quantizer(z)
    assert torch.equal(quantized.residuals[0], z)
    for before, rest in zip(quantized.prefixes, quantized.residuals[1:], strict=False):
        assert torch.equal(rest, z - before)


@modest
@given(cases(on_grid), st.integers(1, 4), st.randoms(use_true_random=False))
def test_rows_in_another_order_get_their_tokens_in_that_order(case, beam, random):
    quantizer, z = case
    order = list(range(z.shape[1]))
    random.shuffle(order)
    assert torch.equal(quantizer(z[:, order]).tokens, quantizer(z).tokens[:, :, order])
    assert torch.equal(encode(quantizer, z[:, order], beam), encode(quantizer, z, beam)[:, order])


def test_the_straight_through_value_is_the_code_and_its_gradient_the_identity():
    generator = torch.Generator().manual_seed(0)
    quantizer = make_quantizer([[5, 3]], 4, generator)
    z = anywhere((1, 9, 4), generator).requires_grad_()
    upstream = anywhere((1, 9, 4), generator)
    passed = straight_through(z, quantizer(z).codes)
    passed.backward(upstream)
    torch.testing.assert_close(passed.detach(), quantizer(z).codes)
    assert torch.equal(z.grad, upstream)


def test_codes_that_follow_averages_have_no_gradient_and_trained_ones_have():
    generator = torch.Generator().manual_seed(0)
    z = anywhere((1, 9, 4), generator)
    for use_ema in (True, False):
        (taken,) = make_quantizer([[5]], 4, generator, use_ema=use_ema)(z).taken
        assert taken.requires_grad != use_ema


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_codes_that_follow_gradients_stay_in_the_space_of_their_level(optimizer):
    generator = torch.Generator().manual_seed(0)
    quantizer = make_quantizer([[6, 5]], 4, generator, use_ema=False)
    directions = torch.linalg.qr(anywhere((4, 2), generator)).Q
    quantizer.set_projector(0, (directions @ directions.T).unsqueeze(0))
    steps = optimizer(quantizer.parameters(), lr=0.1)
    z = anywhere((1, 30, 4), generator)
    before = quantizer.book(0, 1).detach().clone()
    for _ in range(5):
        quantized = quantizer(z)
        steps.zero_grad()
        sum((z - one).square().mean() for one in quantized.taken).backward()
        steps.step()
        quantizer.update_averages(quantized)
    coarse, fine = quantizer.book(0, 0).detach(), quantizer.book(0, 1).detach()
    torch.testing.assert_close(coarse @ directions @ directions.T, coarse)
    assert torch.linalg.matrix_rank(fine) == 4
    assert not torch.allclose(fine, before)


@modest
@given(cases())
def test_quantising_encoding_and_decoding_change_no_buffer(case):
    quantizer, z = case
    before = {name: values.clone() for name, values in quantizer.state_dict().items()}
    quantizer(z)
    quantizer.decode(encode(quantizer, z, 3))
    assert all(torch.equal(values, before[name]) for name, values in quantizer.state_dict().items())


def test_a_code_of_padding_is_not_taken_even_where_it_would_be_nearest():
    far = torch.tensor([[5.0, 5.0], [-5.0, 5.0]])
    near = torch.tensor([[9.0, 9.0], [8.0, 8.0], [7.0, 7.0], [6.0, 6.0]])
    quantizer = ResidualQuantizer([[2], [4]], 2)
    quantizer.set_books([[far], [near]])
    z = torch.zeros(2, 50, 2)  # exactly where the padding of the first book lies
    quantized = quantizer(z)
    quantizer.update_averages(quantized)
    assert quantized.tokens[0, 0].max() < 2
    assert encode(quantizer, z, 4)[0].max() < 2
    assert not quantizer.count(0)[0, 2:].any()
    assert not quantizer.codes(0)[0, 2:].any()


def single_categories(quantizer: ResidualQuantizer) -> list[ResidualQuantizer]:
    """Return one quantizer per category, which needs no padding."""
    alone = []
    for c in range(quantizer.n_categories):
        sizes = quantizer.sizes[c].tolist()
        one = ResidualQuantizer([sizes], quantizer.dim, decay=quantizer.decay)
        one.set_books([[quantizer.book(c, level) for level in range(len(sizes))]])
        alone.append(one)
    return alone


@modest
@given(cases(on_grid), st.integers(0, 2**32 - 1))
def test_padded_books_do_what_each_category_does_alone(case, seed):
    quantizer, z = case
    alone = single_categories(quantizer)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        quantized = quantizer(z)
        quantizer.update_averages(quantized)
        for c, one in enumerate(alone):
            by_itself = one(z[c : c + 1])
            one.update_averages(by_itself)
            assert torch.equal(by_itself.tokens[:, 0], quantized.tokens[:, c])
            for level, size in enumerate(quantizer.sizes[c]):
                torch.testing.assert_close(quantizer.book(c, level), one.book(0, level))
                torch.testing.assert_close(quantizer.count(level)[c, :size], one.count(level)[0])
                torch.testing.assert_close(quantizer.sums(level)[c, :size], one.sums(level)[0])
                assert not quantizer.count(level)[c, size:].any()
        z = z + on_grid(z.shape, generator)


def averages_by_loop(
    count: np.ndarray, total: np.ndarray, quantized: Quantized, level: int, decay: float
) -> None:
    """Move averages [C, K] and [C, K, E]: N ← dN + (1−d)n, m ← dm + (1−d)Σr."""
    for c in range(len(count)):
        rest = quantized.residuals[level][c].double().numpy()
        tokens = quantized.tokens[level, c].numpy()
        for k in range(count.shape[1]):
            mine = rest[tokens == k]
            count[c, k] = decay * count[c, k] + (1 - decay) * len(mine)
            total[c, k] = decay * total[c, k] + (1 - decay) * mine.sum(0)


@modest
@given(cases(), st.floats(0.0, 0.999))
def test_averages_and_codes_follow_their_formula_in_float64(case, decay):
    quantizer, z = case
    quantizer.decay = decay
    levels = range(quantizer.n_levels)
    counts = [quantizer.count(level).double().numpy() for level in levels]
    totals = [quantizer.sums(level).double().numpy() for level in levels]
    codes = [quantizer.codes(level).double().numpy() for level in levels]
    for _ in range(4):
        quantized = quantizer(z)
        quantizer.update_averages(quantized)
        for level in levels:
            averages_by_loop(counts[level], totals[level], quantized, level, decay)
            torch.testing.assert_close(
                quantizer.count(level).double(),
                torch.from_numpy(counts[level]),
                rtol=1e-4,
                atol=1e-6,
            )
            torch.testing.assert_close(
                quantizer.sums(level).double(),
                torch.from_numpy(totals[level]),
                rtol=1e-4,
                atol=1e-5,
            )
            for c, size in enumerate(quantizer.sizes[:, level]):
                own = codes[level][c, :size]
                count = counts[level][c, :size, None]
                own[:] = (totals[level][c, :size] + SMOOTHING * own) / (count + SMOOTHING)
                well_used = count[:, 0] > 1e-2  # below, float32 sums decide
                np.testing.assert_allclose(
                    quantizer.book(c, level)[torch.from_numpy(well_used)],
                    own[well_used],
                    rtol=1e-3,
                    atol=1e-4,
                )


def test_smoothing_does_not_accumulate_in_the_averages():
    generator = torch.Generator().manual_seed(0)
    quantizer = make_quantizer([[50]], 2, generator, decay=0.5)
    z = anywhere((1, 30, 2), generator)
    for _ in range(300):
        quantizer.update_averages(quantizer(z))
    # in the limit the averages are the batch's own: any smoothing kept in them would show
    assert float(quantizer.count(0).sum()) == pytest.approx(30, rel=1e-6)
    torch.testing.assert_close(quantizer.sums(0).sum(1), z.sum(1), rtol=1e-4, atol=1e-4)


def test_books_start_with_the_use_of_a_uniform_share_and_stay_where_they_are_set():
    generator = torch.Generator().manual_seed(0)
    sizes = [[4, 2], [3, 5]]
    books = [[anywhere((k, 3), generator) for k in levels] for levels in sizes]
    quantizer = ResidualQuantizer(sizes, 3)
    quantizer.set_books(books, share=60)
    assert quantizer.count(0).tolist() == [[15, 15, 15, 15], [20, 20, 20, 0]]
    for c, levels in enumerate(books):
        for level, book in enumerate(levels):
            assert torch.equal(quantizer.book(c, level), book)
    stationary = quantizer(torch.zeros(2, 0, 3))
    quantizer.update_averages(stationary)
    torch.testing.assert_close(quantizer.book(0, 0), books[0][0], rtol=1e-5, atol=1e-6)


def test_a_book_starts_with_the_weight_of_one_row_and_a_batch_moves_it_by_a_hundredth():
    quantizer = make_quantizer([[4, 2]], 3, torch.Generator().manual_seed(0))
    assert quantizer.count(0).tolist() == [[0.25] * 4]
    torch.testing.assert_close(quantizer.sums(1), quantizer.codes(1) / 2)
    quantizer.update_averages(quantizer(torch.zeros(1, 0, 3)))
    torch.testing.assert_close(quantizer.count(0), torch.full((1, 4), 0.99 * 0.25))


def test_codes_used_alike_stay_in_place_however_little_they_are_used():
    generator = torch.Generator().manual_seed(0)
    book = anywhere((8, 3), generator)
    quantizer = ResidualQuantizer([[8]], 3)
    quantizer.set_books([[book]], share=1e-3)  # the smoothing is a twelfth of the use of a code
    quantizer.update_averages(quantizer(torch.zeros(1, 0, 3)))
    torch.testing.assert_close(quantizer.book(0, 0), book)


def test_a_code_that_no_row_takes_stays_in_place_however_long():
    book = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    quantizer = ResidualQuantizer([[4]], 2, decay=0.5)
    quantizer.set_books([[book]], share=3)
    z = book[:3].unsqueeze(0)
    for _ in range(300):  # its count is far below the smallest float32
        quantizer.update_averages(quantizer(z))
    assert float(quantizer.count(0)[0, 3]) == 0
    torch.testing.assert_close(quantizer.book(0, 0), book)


def test_a_code_that_is_taken_again_after_long_moves_at_once_to_what_takes_it():
    book = torch.tensor([[0.0, 0.0], [9.0, 9.0]])
    quantizer = ResidualQuantizer([[2]], 2, decay=0.5)
    quantizer.set_books([[book]], share=2)
    for _ in range(60):
        quantizer.update_averages(quantizer(book[:1].unsqueeze(0)))
    row = torch.tensor([[[8.0, 7.0]]])
    quantizer.update_averages(quantizer(row))
    torch.testing.assert_close(quantizer.book(0, 0)[1], row[0, 0], rtol=1e-4, atol=0)


def test_a_saved_quantizer_holds_codes_averages_and_projectors_alone():
    quantizer = ResidualQuantizer([[4, 2]], 3)
    kept = {"all_codes", "all_counts", "all_sums", "projector_0", "projector_1"}
    assert set(quantizer.state_dict()) == kept


def quantizer_with_dead_codes() -> tuple[ResidualQuantizer, Tensor, Quantized]:
    """Return a quantizer whose codes 0 and 5 no row takes, after enough steps to know it."""
    generator = torch.Generator().manual_seed(1)
    codes = anywhere((8, 3), generator)
    codes[[0, 5]] = 1000.0
    quantizer = ResidualQuantizer([[8]], 3, decay=0.5)
    quantizer.set_books([[codes]], share=64)
    z = anywhere((1, 64, 3), generator)
    for _ in range(8):
        quantized = quantizer(z)
        quantizer.update_averages(quantized)
    return quantizer, z, quantized


def reset(quantizer: ResidualQuantizer, quantized: Quantized, **options) -> Tensor:
    settings_of_reset = {"threshold": 10.0, "max_fraction": 0.5} | options
    return quantizer.reset_dead_codes(
        quantized, torch.Generator().manual_seed(2), **settings_of_reset
    )


def test_a_dead_code_moves_to_a_row_with_its_sum_and_its_count():
    quantizer, z, quantized = quantizer_with_dead_codes()
    share = quantizer.count(0)[0].mean()
    assert reset(quantizer, quantized).tolist() == [[2]]
    for k in (0, 5):
        assert (z[0] == quantizer.book(0, 0)[k]).all(1).any()
        assert quantizer.count(0)[0, k] == share
        torch.testing.assert_close(quantizer.sums(0)[0, k], share * quantizer.book(0, 0)[k])


def test_dead_codes_move_to_rows_of_their_own_as_many_as_there_are():
    quantizer, _, quantized = quantizer_with_dead_codes()
    few = dataclasses.replace(quantized, residuals=tuple(r[:, :1] for r in quantized.residuals))
    assert reset(quantizer, few).tolist() == [[1]]
    for seed in range(20):
        quantizer, _, quantized = quantizer_with_dead_codes()
        two = dataclasses.replace(quantized, residuals=tuple(r[:, :2] for r in quantized.residuals))
        generator = torch.Generator().manual_seed(seed)
        quantizer.reset_dead_codes(two, generator, threshold=10.0, max_fraction=0.5)
        placed = quantizer.book(0, 0)[[0, 5]]
        assert not torch.equal(placed[0], placed[1])


def test_a_revived_code_is_still_there_after_the_step_that_revived_it():
    quantizer, _, quantized = quantizer_with_dead_codes()
    reset(quantizer, quantized)
    placed = quantizer.book(0, 0)[[0, 5]].clone()
    quantizer.update_averages(quantized)  # in which no row had taken it
    torch.testing.assert_close(quantizer.book(0, 0)[[0, 5]], placed, rtol=1e-3, atol=1e-4)


def test_a_revived_code_is_taken_by_the_row_that_it_was_put_on():
    quantizer, z, quantized = quantizer_with_dead_codes()
    reset(quantizer, quantized)
    tokens = quantizer(z).tokens[0, 0]
    for k in (0, 5):
        row = int((z[0] == quantizer.book(0, 0)[k]).all(1).nonzero()[0])
        assert tokens[row] == k


def test_codes_that_are_used_do_not_move():
    quantizer, _, quantized = quantizer_with_dead_codes()
    used = [1, 2, 3, 4, 6, 7]
    before = [state[0, used].clone() for state in (quantizer.codes(0), quantizer.count(0))]
    reset(quantizer, quantized)
    after = [state[0, used] for state in (quantizer.codes(0), quantizer.count(0))]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(("fraction", "moved"), [(0.0, 0), (0.1, 0), (0.125, 1), (0.25, 2)])
def test_at_most_the_given_fraction_of_a_book_moves_at_once(fraction, moved):
    quantizer, _, quantized = quantizer_with_dead_codes()
    assert reset(quantizer, quantized, max_fraction=fraction).tolist() == [[moved]]


def test_a_lower_threshold_revives_more_codes():
    moved = []
    for threshold in (1e9, 10.0, 1.0, 0.01):
        quantizer, _, quantized = quantizer_with_dead_codes()
        moved.append(int(reset(quantizer, quantized, threshold=threshold, max_fraction=1.0)))
    assert moved == sorted(moved)
    assert moved[0] < moved[1] < moved[2] < moved[3] == 8


def test_codes_of_padding_are_never_revived():
    quantizer = ResidualQuantizer([[2], [8]], 2)
    generator = torch.Generator().manual_seed(0)
    quantizer.set_books([[anywhere((2, 2), generator)], [anywhere((8, 2), generator)]])
    quantized = quantizer(anywhere((2, 20, 2), generator))
    reset(quantizer, quantized, threshold=0.01, max_fraction=1.0)
    assert not quantizer.codes(0)[0, 2:].any()
    assert not quantizer.count(0)[0, 2:].any()


def test_autocast_to_bfloat16_picks_the_codes_of_float32():
    generator = torch.Generator().manual_seed(0)
    quantizer = make_quantizer([[64, 64], [64, 64]], 8, generator)
    z = anywhere((2, 400, 8), generator)
    expected = quantizer(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quantized = quantizer(z)
    assert torch.equal(quantized.tokens, expected.tokens)
    assert quantized.codes.dtype == torch.float32
    assert torch.equal(quantized.codes, expected.codes)


def test_embeddings_in_bfloat16_are_quantised_in_float32():
    generator = torch.Generator().manual_seed(0)
    quantizer = make_quantizer([[64, 64]], 8, generator)
    z = anywhere((1, 200, 8), generator).bfloat16()
    assert torch.equal(quantizer(z).tokens, quantizer(z.float()).tokens)


def test_a_level_that_is_restricted_to_a_subspace_leaves_the_rest_to_the_next():
    generator = torch.Generator().manual_seed(0)
    first_axis = torch.diag(torch.tensor([1.0, 0.0, 0.0]))
    quantizer = ResidualQuantizer([[4, 8]], 3, decay=0.5)
    books = [anywhere((4, 3), generator) @ first_axis, anywhere((8, 3), generator)]
    quantizer.set_books([books])
    quantizer.set_projector(0, first_axis.unsqueeze(0))
    z = anywhere((1, 40, 3), generator)
    quantized = quantizer(z)
    assert torch.equal(quantized.residuals[0], z @ first_axis)
    assert torch.equal(quantized.residuals[1], z - quantized.prefixes[0])
    assert torch.equal(encode(quantizer, z, 1), quantized.tokens.permute(1, 2, 0))
    quantizer.update_averages(quantized)
    reset(quantizer, quantized, threshold=0.5)
    assert not quantizer.book(0, 0)[:, 1:].any()


def test_a_category_has_spaces_where_any_of_its_levels_has_a_limit():
    quantizer = ResidualQuantizer([[4, 8]] * 2, 3)
    assert not quantizer.spaces(0, 3)
    first_axis, whole = torch.diag(torch.tensor([1.0, 0.0, 0.0])), torch.eye(3)
    quantizer.set_projector(0, torch.stack([first_axis, whole]))
    quantizer.set_projector(1, torch.stack([whole, whole]))
    one, other = quantizer.spaces(0, 2)
    assert torch.equal(one, first_axis[:2, :2])
    assert torch.equal(other, whole[:2, :2])
    assert not quantizer.spaces(1, 3)
    assert not quantizer.double().spaces(1, 3)


@modest
@given(st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_codes_are_taken_from_the_book_of_their_own_category_and_level(n_rows, seed):
    generator = torch.Generator().manual_seed(seed)
    quantizer = ResidualQuantizer([[8, 2], [3, 5], [4, 4]], 2, decay=0.9)
    quantizer.all_codes.copy_(anywhere(tuple(quantizer.all_codes.shape), generator))
    for level in range(2):
        size = int(quantizer.sizes[:, level].min())
        index = torch.randint(size, (3, n_rows), generator=generator)
        taken = quantizer.take(index, level)
        for c in range(3):
            assert torch.equal(taken[c], quantizer.book(c, level)[index[c]])
