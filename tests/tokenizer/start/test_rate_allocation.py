"""Bits go where they lower the distortion most, and never beyond the budget."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.start import rate_allocation
from spinlock.tokenizer.start.rate_allocation import (
    LEVELS,
    ROWS_FOR_ONE_FOLD,
    RateDistortion,
    _CategoryCurves,
    _fewest_bits,
    _folds,
    allocate_bits,
    choose_book_sizes,
    distortion_at,
    split_bits,
)

modest = settings(deadline=None, max_examples=60)


@modest
@given(st.integers(1, 10), st.integers(1, 5), st.data())
def test_split_bits_are_spent_coarse_first_and_leave_no_level_empty(cap, levels, data):
    bits = data.draw(st.integers(0, cap * levels))
    split = split_bits(bits, cap, levels)
    assert sum(split) == bits
    assert len(split) == levels
    assert max(split) <= cap
    assert split == sorted(split, reverse=True)
    if bits >= levels:
        assert min(split) >= 1
        below_cap = [b for b in split if b < cap]
        assert all(b == 1 for b in below_cap[1:])


def curve(distortions: list[float], first: int = 0) -> RateDistortion:
    return RateDistortion(np.arange(first, first + len(distortions)), np.array(distortions))


@st.composite
def convex_curves(draw) -> list[RateDistortion]:
    curves = []
    for _ in range(draw(st.integers(1, 3))):
        falls = sorted(draw(st.lists(st.integers(0, 50), min_size=0, max_size=4)), reverse=True)
        start = sum(falls) + draw(st.integers(0, 20))
        curves.append(curve([start - sum(falls[:i]) for i in range(len(falls) + 1)]))
    return curves


@modest
@given(convex_curves(), st.integers(0, 14))
def test_for_convex_curves_no_other_allocation_is_better(curves, budget):
    bits = allocate_bits(curves, budget)
    best = min(
        distortion_at(curves, np.array(choice))
        for choice in itertools.product(*(one.bits for one in curves))
        if sum(choice) <= budget
    )
    assert bits.sum() <= budget
    assert distortion_at(curves, bits) == pytest.approx(best)


def test_a_step_that_pays_only_later_is_taken():
    curves = [curve([10.0, 10.0, 0.0]), curve([9.0, 7.0, 6.0])]
    assert allocate_bits(curves, 2).tolist() == [2, 0]


def test_categories_keep_the_least_that_their_levels_need():
    curves = [curve([5.0, 4.0], first=3), curve([50.0, 1.0], first=3)]
    assert allocate_bits(curves, 6).tolist() == [3, 3]
    assert allocate_bits(curves, 7).tolist() == [3, 4]


def test_distortion_is_summed_at_the_bits_of_each_category():
    curves = [curve([5.0, 4.0], first=3), curve([50.0, 10.0, 1.0])]
    assert distortion_at(curves, np.array([4, 1])) == 14


@pytest.mark.parametrize("n_rows", [2, 10, 700, 1500, 7000])
def test_rows_are_held_out_of_what_is_fitted(n_rows):
    folds = _folds(n_rows, torch.Generator().manual_seed(0))
    for fitted, held_out in folds:
        assert len(fitted) > 0 < len(held_out)
        assert not set(fitted.tolist()) & set(held_out.tolist())
    if n_rows < ROWS_FOR_ONE_FOLD:
        each = torch.cat([held_out for _, held_out in folds])
        assert sorted(each.tolist()) == list(range(n_rows))


def curves_of(z, given=(None,) * LEVELS, parts=()):
    """Return the curves of a category whose last third of rows is held out."""
    fold = torch.arange(2 * len(z) // 3), torch.arange(2 * len(z) // 3, len(z))
    generator = torch.Generator().manual_seed(0)
    no_events = z.new_empty(0, 2, z.shape[1])
    return _CategoryCurves([fold], generator, 10, z, no_events, given, parts, z[:0])


def test_distortion_is_the_error_of_rows_that_books_have_not_seen():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(60, 12, generator=generator) * torch.linspace(0.5, 2, 60).unsqueeze(1)
    curves = curves_of(z)
    curve = curves.curve(4, all_used=False)
    untold = float(z[40:].square().sum(dim=1).mean())
    assert curve.distortion[0] == pytest.approx(untold, rel=1e-4)
    fitted, held_out, _ = curves._whole.chain((2**4,) * LEVELS)
    seen, unseen = (
        float(torch.cat([beam.error.flatten() for beam in beams]).mean())
        for beams in (fitted, held_out)
    )
    assert curve.distortion[4 * LEVELS] == pytest.approx(unseen, rel=1e-4)
    assert unseen > 1.5 * seen


def test_the_largest_book_is_the_one_that_leaves_the_least(monkeypatch):
    left = {5: 2.0, 6: 1.0, 7: 3.0}  # by the bits of the largest book

    def measured(curves, _):
        return left[int(curves[0].bits[-1]) // LEVELS]

    monkeypatch.setattr(rate_allocation, "distortion_at", measured)
    assert np.max(choose(embeddings((1.0,), n_rows=300), 30)) == 2**6


def embeddings(scales: tuple[float, ...], n_rows: int = 200) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [scale * torch.randn(n_rows, 3, generator=generator) for scale in scales]


def choose(z: list[torch.Tensor], budget: int, **options) -> list[list[int]]:
    return choose_book_sizes(z, budget, torch.Generator().manual_seed(1), **options)


def bits_of(sizes: list[list[int]]) -> list[float]:
    return np.log2(sizes).sum(1).tolist()


@pytest.mark.parametrize("budget", [1, 4, 6, 11, 20, 500])
def test_sizes_are_powers_of_two_within_the_budget(budget):
    sizes = choose(embeddings((1.0, 2.0)), budget)
    assert np.shape(sizes) == (2, 3)
    assert sum(bits_of(sizes)) <= budget
    assert all(k == 2 ** int(np.log2(k)) for k in np.ravel(sizes))
    if budget >= 6:
        assert np.min(sizes) >= 2
    if budget <= 20:
        assert sum(bits_of(sizes)) == budget


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_a_category_that_varies_more_gets_more_bits(unit):
    small, large = bits_of(choose(embeddings((0.3 * unit, 3.0 * unit)), 14))
    assert large > small


def test_levels_are_front_loaded():
    for levels in choose(embeddings((1.0, 2.0)), 16):
        assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize("max_tokens", [2, 7, 16])
def test_no_book_is_larger_than_allowed(max_tokens):
    assert np.max(choose(embeddings((1.0, 2.0)), 60, max_tokens=max_tokens)) <= max_tokens


@pytest.mark.parametrize("max_tokens", [None, 1024])
def test_books_are_not_larger_than_half_the_rows(max_tokens):
    z = embeddings((1.0,), n_rows=100)
    assert np.max(choose(z, 60, max_tokens=max_tokens)) <= 50


@pytest.mark.parametrize("n_rows", [2, 3, 5, 40])
def test_few_rows_are_enough(n_rows):
    assert np.shape(choose(embeddings((1.0, 1.0), n_rows), 12)) == (2, 3)


def test_equal_generators_give_equal_sizes():
    z = embeddings((1.0, 2.0, 0.5))
    assert choose(z, 20) == choose(z, 20)


def test_a_target_takes_fewer_bits_the_weaker_it_is():
    z = embeddings((1.0, 2.0))
    variance = sum(float(one.var(0).sum()) for one in z)
    spent = [
        sum(bits_of(choose(z, 30, target_distortion=share * variance)))
        for share in (1.0, 0.5, 0.2, 1e-9)
    ]
    assert spent == sorted(spent)
    assert spent[0] == 6  # one bit for each level
    assert spent[1] < spent[2] < 30
    # what cannot be reached takes all that helps
    assert spent[3] == sum(bits_of(choose(z, 30)))


def test_the_fewest_bits_are_found_where_more_bits_lose_for_a_while():
    curves = [curve([10.0, 4.0, 6.0, 3.0]), curve([5.0, 4.5])]
    assert _fewest_bits(curves, 4, 4.0 + 5.0).tolist() == [1, 0]
    assert _fewest_bits(curves, 4, 3.0 + 5.0).tolist() == [3, 0]
    assert _fewest_bits(curves, 4, 0.0).tolist() == [3, 1]


@pytest.mark.parametrize(
    ("given", "budget", "chosen"),
    [
        ([[None] * 5] * 2, 24, 24),
        ([[16, None, None]] * 2, 24, 16),
        ([[None, 10, None], [None, None, None]], 20, 16),  # ten codes take four bits
        ([[None]] * 2, 8, 8),
        ([[32, None], [32, None]], 8, 0),
    ],
)
def test_sizes_that_are_given_take_their_bits_first(given, budget, chosen):
    generator = torch.Generator().manual_seed(0)
    sizes = choose_book_sizes(embeddings((3.0, 1.0)), budget, generator, given=given)
    assert [len(levels) for levels in sizes] == [len(levels) for levels in given]
    bits = 0.0
    for levels, wanted in zip(sizes, given, strict=True):
        for size, settled in zip(levels, wanted, strict=True):
            assert settled in (None, size)
            bits += 0 if settled else np.log2(size)
    assert bits == chosen


def test_a_quality_that_the_bits_do_not_reach_is_told(caplog):
    generator = torch.Generator().manual_seed(0)
    choose_book_sizes(embeddings((3.0, 1.0)), 6, generator, target_distortion=1e-9)
    assert "target_quality is not reached" in caplog.text
    caplog.clear()
    choose_book_sizes(embeddings((3.0, 1.0)), 6, generator, target_distortion=1e9)
    assert not caplog.text


def test_rows_are_held_out_by_chance():
    for n_rows in (700, 6000):  # a dataset may be sorted
        for _, held_out in _folds(n_rows, torch.Generator().manual_seed(0)):
            assert held_out.max() - held_out.min() > 0.9 * n_rows


@pytest.mark.parametrize("given", [[None] * 3, [4, None, None], [None, 5]])
def test_what_is_measured_are_all_books_those_that_are_given_too(given):
    (z,) = embeddings((1.0,), n_rows=90)
    curves = curves_of(z, given)
    curve = curves.curve(3, all_used=False)
    for bits in (0, *range(given.count(None), curve.bits[-1] // 2 + 2)):
        sizes = tuple(size for size in curves.sizes(bits, 3) if size > 1)
        _, held_out, _ = curves._whole.chain(sizes)
        unseen = torch.cat([beam.error.flatten() for beam in held_out]).mean()
        assert curve.distortion[bits] == pytest.approx(float(unseen), rel=1e-4)
    assert curve.distortion[0] == pytest.approx(curves._whole.chain(tuple(filter(None, given)))[2])


def test_between_measured_bits_the_logarithm_of_the_distortion_is_interpolated():
    (z,) = embeddings((1.0,), n_rows=60)
    curves = curves_of(z)
    curve = curves.curve(5, all_used=True)  # measured at 3 to 7, 10 and 13 to 15 bits
    logarithms = np.log(curve.distortion[curve.bits >= 7][:4])
    assert np.diff(logarithms) == pytest.approx([np.ptp(logarithms) / -3] * 3)


def graded(n_rows: int = 900) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return two columns of eight grades and one of two, and a part for each."""
    generator = torch.Generator().manual_seed(0)
    grades = [torch.randint(n, (n_rows,), generator=generator) / n for n in (2, 8, 8)]
    return torch.stack(grades, dim=1), [row.diag() for row in torch.eye(3)]


def test_parts_get_the_bits_that_tell_them_where_that_is_better_than_residuals():
    z, parts = graded()
    noise = 0.1 * torch.randn(900, 3, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    sizes, others = choose_book_sizes([z, noise], 13, generator, parts=[parts, []])
    assert sizes == [2, 8, 8]
    assert np.log2(others).sum() == 6
    residual, _ = choose_book_sizes([z, noise], 13, torch.Generator().manual_seed(0))
    assert residual != sizes


def test_a_book_of_all_combinations_takes_no_two_rows_for_each_code():
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(8, (100, 2), generator=generator) / 8  # 64 combinations
    parts = [torch.eye(2), torch.eye(2)[:0], torch.eye(2)[:0]]
    for max_tokens, first in ((None, 64), (63, 32)):
        ((size, *_),) = choose_book_sizes(
            [z], 30, torch.Generator().manual_seed(0), parts=[parts], max_tokens=max_tokens
        )
        assert size == first
    many = torch.randint(16, (100, 2), generator=generator) / 16
    ((size, *_),) = choose_book_sizes([many], 30, generator, parts=[parts])
    assert size <= 32


def test_books_of_all_combinations_have_no_other_codes_and_what_that_saves_is_spent():
    generator = torch.Generator().manual_seed(0)
    grades = [torch.randint(n, (900,), generator=generator) / n for n in (17, 9, 5)]
    z, parts = torch.stack(grades, dim=1), [row.diag() for row in torch.eye(3)]
    parts = [part[part.any(dim=1)] for part in parts]
    noise = 0.01 * torch.randn(900, 3, generator=generator)
    budget = 5 + 4 + 3 + 6  # the bits of books of 32, 16 and 8 codes, and others
    sizes, others = choose_book_sizes([z, noise], budget, generator, parts=[parts, []])
    assert sizes == [17, 9, 5]
    assert np.log2(others).sum() == 6 + 2  # of 12 bits, books of 17 · 9 · 5 codes take 9.6


def test_books_of_all_combinations_hold_outliers_that_no_row_shows():
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(5, (900, 1), generator=generator) / 5
    parts = [torch.eye(1), torch.eye(1)[:0], torch.eye(1)[:0]]
    for outliers, number in ([], 5), ([[7.0], [-3.0]], 7):
        beside = [torch.tensor(outliers).reshape(-1, 1)]
        (sizes,) = choose_book_sizes([z], 12, generator, parts=[parts], outliers=beside)
        assert sizes == [number, 1, 1]


def test_what_parts_leave_adds_up():
    z, parts = graded()
    curves = curves_of(z, parts=parts)
    splits = {int(split.sum()): (split, left) for split, left in curves._over_parts(3, 1)}
    assert list(splits) == [*range(3, 8)]  # two bits more would tell nothing
    split, left = splits[6]
    assert sorted(split.tolist()) == [1, 2, 3]
    (untold,) = (one for one, b in zip(curves._parts, split, strict=True) if b == 2)
    assert left == pytest.approx(untold.distortion([4]))
    assert left > 0
    measured = curves.curve(3, all_used=True)
    assert measured.distortion[3] <= left
    assert measured.distortion[4] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("given", [[None, 4, None], [4, 4, 4]])
def test_given_books_are_not_of_parts(given):
    z, parts = graded(90)
    generator = torch.Generator().manual_seed(0)
    curves = curves_of(z, given, parts)
    assert not list(curves._over_parts(3, 1))
    sizes = choose_book_sizes([z, z], 20, generator, given=[given, given], parts=[parts] * 2)
    assert all(size[1] == 4 for size in sizes)


def test_categories_without_parts_draw_as_ever():
    one, other = embeddings((1.0, 2.0))
    found = [
        choose_book_sizes([one, other], 12, torch.Generator().manual_seed(0), parts=parts)
        for parts in (None, [[], []])
    ]
    assert found[0] == found[1]
