"""Curves of a category: the error of rows that books have not seen, of levels and of parts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.start.bit_budget import LEVELS
from spinlock.tokenizer.start.category import Category
from spinlock.tokenizer.start.category_axes import CategoryAxes
from spinlock.tokenizer.start.category_curves import CategoryCurves, split_bits

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


def curves_of(z, given=(None,) * LEVELS, parts=()):
    """Return the curves of a category whose last third of rows is held out."""
    fold = torch.arange(2 * len(z) // 3), torch.arange(2 * len(z) // 3, len(z))
    generator = torch.Generator().manual_seed(0)
    dims, no_events = z.shape[1], z.new_empty(0, 2, z.shape[1])
    axes = CategoryAxes(torch.zeros(dims), torch.eye(dims), torch.eye(dims))
    category = Category([*range(dims)], axes, no_events, z[:0], sizes=given, parts=parts)
    return CategoryCurves([fold], generator, 10, category, z)


def test_distortion_is_the_error_of_rows_that_books_have_not_seen():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(60, 12, generator=generator) * torch.linspace(0.5, 2, 60).unsqueeze(1)
    curves = curves_of(z)
    curve = curves.curve(4, all_used=False)
    untold = float(z[40:].square().sum(dim=1).mean())
    assert curve.distortion[0] == pytest.approx(untold, rel=1e-4)
    ((fitted, held_out),) = curves._whole.left((2**4,) * LEVELS)
    seen, unseen = (float(left.square().sum(dim=1).mean()) for left in (fitted, held_out))
    assert curve.distortion[4 * LEVELS] == pytest.approx(unseen, rel=1e-4)
    assert unseen > 1.5 * seen


@pytest.mark.parametrize("given", [[None] * 3, [4, None, None], [None, 5]])
def test_what_is_measured_are_all_books_those_that_are_given_too(given):
    z = torch.randn(90, 3, generator=torch.Generator().manual_seed(0))
    curves = curves_of(z, given)
    curve = curves.curve(3, all_used=False)
    for bits in (0, *range(given.count(None), curve.bits[-1] // 2 + 2)):
        sizes = tuple(size for size in curves.sizes(bits, 3) if size > 1)
        curves._whole.distortion(sizes)
        ((_, held_out),) = curves._whole.left(sizes)
        unseen = held_out.square().sum(dim=1).mean()
        assert curve.distortion[bits] == pytest.approx(float(unseen), rel=1e-4)
    of_given = curves._whole.distortion(filter(None, given))
    assert curve.distortion[0] == pytest.approx(of_given)


def test_between_measured_bits_the_logarithm_of_the_distortion_is_interpolated():
    z = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    curves = curves_of(z)
    curve = curves.curve(5, all_used=True)  # measured at 3 to 7, 10 and 13 to 15 bits
    logarithms = np.log(curve.distortion[curve.bits >= 7][:4])
    assert np.diff(logarithms) == pytest.approx([np.ptp(logarithms) / -3] * 3)


def test_what_parts_leave_adds_up(graded):
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
def test_given_books_are_not_of_parts(given, graded):
    z, parts = graded(90)
    assert not list(curves_of(z, given, parts)._over_parts(3, 1))
