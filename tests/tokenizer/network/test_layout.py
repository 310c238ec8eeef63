"""Columns by category and back, and linear maps of each category."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spinlock.tokenizer.network.layout import (
    CategoryLayout,
    CategoryLinear,
    Dropout,
    EmbeddingDims,
    add_to_members,
)

modest = settings(deadline=None, max_examples=30)


@st.composite
def partitions(draw) -> list[np.ndarray]:
    """Every column of 1..12 in exactly one of 1..4 categories, in any order."""
    columns = draw(st.permutations(range(draw(st.integers(1, 12)))))
    n_cuts = min(len(columns), draw(st.integers(1, 4))) - 1
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(columns) - 1)), max_size=n_cuts)))
    return [np.array(part) for part in np.split(np.array(columns), cuts) if len(part)]


@modest
@given(partitions())
def test_scattering_gathered_columns_gives_them_back(partition):
    n_columns = sum(map(len, partition))
    layout = CategoryLayout(partition, n_columns)
    x = torch.randn(5, n_columns)
    assert torch.equal(layout.scatter(layout.gather(x)), x)


@modest
@given(partitions())
def test_gathered_categories_hold_their_columns_and_zeros_behind(partition):
    n_columns = sum(map(len, partition))
    layout = CategoryLayout(partition, n_columns)
    x = torch.randn(5, n_columns)
    gathered = layout.gather(x)
    assert gathered.shape == (len(partition), 5, max(map(len, partition)))
    for c, members in enumerate(partition):
        assert torch.equal(gathered[c, :, : len(members)], x[:, members.tolist()])
        assert not gathered[c, :, len(members) :].any()
        assert (layout.index[c] < n_columns).sum() == len(members)


@modest
@given(partitions())
def test_what_stands_in_the_padding_is_not_scattered(partition):
    n_columns = sum(map(len, partition))
    layout = CategoryLayout(partition, n_columns)
    y = torch.randn(layout.n_categories, 3, layout.width)
    padded = torch.where((layout.index < n_columns).unsqueeze(1), y, torch.nan)
    assert torch.equal(layout.scatter(padded), layout.scatter(y))


def test_a_linear_map_of_categories_is_one_matrix_for_each():
    linear = CategoryLinear(3, 4, 2)
    x = torch.randn(3, 7, 4)
    for c in range(3):
        expected = x[c] @ linear.weight[c] + linear.bias[c]
        torch.testing.assert_close(linear(x)[c], expected)


def test_a_linear_map_starts_as_torchs_own_or_at_zero():
    linear = CategoryLinear(50, 16, 20)
    assert linear.weight.abs().max() <= 16**-0.5
    assert linear.weight.std() > 0.8 * 16**-0.5 / 3**0.5
    assert not any(p.any() for p in CategoryLinear(3, 4, 2, zero=True).parameters())


@modest
@given(partitions())
def test_scattering_sends_the_gradient_of_each_column_to_its_place(partition):
    n_columns = sum(map(len, partition))
    layout = CategoryLayout(partition, n_columns)
    y = torch.randn(layout.n_categories, 3, layout.width, requires_grad=True)
    upstream = torch.randn(3, n_columns)
    layout.scatter(y).backward(upstream)
    assert torch.equal(y.grad, layout.gather(upstream))


@modest
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_compact_embeddings_are_their_real_dimensions_side_by_side(sizes):
    dims = EmbeddingDims(sizes, 5)
    z = torch.randn(len(sizes), 3, 5, requires_grad=True)
    compact = dims.compact(z)
    assert torch.equal(
        compact, torch.cat([one[:, :n] for one, n in zip(z, sizes, strict=True)], dim=1)
    )
    compact.sum().backward()
    assert torch.equal(z.grad, dims.mask.expand_as(z))
    owner = torch.tensor([c for c, n in enumerate(sizes) for _ in range(n)])
    assert torch.equal(dims.between, (owner.unsqueeze(0) != owner.unsqueeze(1)).float())


# torch warns of what it does itself while it traces
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("members", [[2, 0], [1], [0, 1, 2]])
def test_adding_to_members_leaves_the_other_categories_compiled_or_not(members):
    all_of, some = torch.randn(3, 4, 2), torch.randn(len(members), 4, 2)
    expected = all_of.clone()
    expected[members] += some
    upstream = torch.randn(3, 4, 2)
    for add in (add_to_members, torch.compile(add_to_members, backend="aot_eager")):
        leaves = [one.clone().requires_grad_() for one in (all_of, some)]
        added = add(*leaves, torch.tensor(members))
        torch.testing.assert_close(added, expected)
        added.backward(upstream)
        assert torch.equal(leaves[0].grad, upstream)
        assert torch.equal(leaves[1].grad, upstream[members])


def test_dropout_drops_its_share_and_scales_what_it_keeps():
    torch.manual_seed(0)
    dropout, x = Dropout(0.25), torch.ones(400, 401)
    dropped = dropout(x)
    kept = dropped[dropped != 0]
    assert torch.equal(kept, torch.full_like(kept, 4 / 3))
    assert abs(len(kept) / x.numel() - 0.75) < 0.005
    rows, columns = (dropped != 0).float().mean(dim=1), (dropped != 0).float().mean(dim=0)
    assert 0.6 < min(rows.min(), columns.min()) < max(rows.max(), columns.max()) < 0.9
    torch.manual_seed(0)
    assert torch.equal(dropout(x), dropped)


def test_dropout_of_categories_drops_the_same_units_of_a_row_in_all_of_them():
    torch.manual_seed(0)
    dropout, x = Dropout(0.25, of_categories=True), torch.randn(3, 200, 101)
    dropped = dropout(x)
    kept = dropped != 0
    assert torch.allclose(dropped[kept], x[kept] * 4 / 3)
    assert torch.equal(kept, kept[:1].expand_as(kept))
    assert abs(kept.float().mean() - 0.75) < 0.01


def test_dropout_leaves_rows_alone_outside_training_and_at_rate_zero():
    x = torch.randn(5, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_a_compiled_model_drops_the_same_values():
    dropout, x = Dropout(0.25), torch.randn(3, 50, 7)
    compiled = torch.compile(nn.Sequential(dropout, dropout), backend="aot_eager")
    torch.manual_seed(0)
    once_and_again = dropout(dropout(x))
    torch.manual_seed(0)
    assert torch.equal(compiled(x), once_and_again)
    share = (once_and_again != 0).float().mean()
    assert abs(share - 0.75**2) < 0.06  # drawn anew for the second


def test_the_compiler_knows_what_the_drawing_of_dropout_gives():
    found = torch.library.opcheck(
        torch.ops.spinlock.dropout_scale.default,
        ((5, 3), 99),
        test_utils=("test_schema", "test_faketensor"),
    )
    assert set(found.values()) == {"SUCCESS"}
