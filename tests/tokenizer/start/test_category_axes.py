"""Principal axes are orthonormal, hold the most variance, and have one sign."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.start.category_axes import CategoryAxes

modest = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


@modest
@given(seeds, st.integers(1, 5))
def test_principal_axes_are_orthonormal_and_hold_the_most_variance(seed, limit):
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(40, 4))).float() * torch.tensor(
        [3.0, 2.0, 1.0, 0.5]
    )
    fitted = CategoryAxes.principal(x, limit)
    n_axes = min(limit, 4)
    gram = fitted.synthesis @ fitted.analysis
    torch.testing.assert_close(gram, torch.eye(n_axes), atol=1e-5, rtol=0)
    singular = np.linalg.svd((x - x.mean(0)).double().numpy(), compute_uv=False)[:n_axes]
    spread = fitted.project(x).double().square().sum(0).sqrt()
    np.testing.assert_allclose(spread, singular, rtol=1e-4)


@modest
@given(seeds)
def test_the_sign_of_an_axis_is_that_of_its_largest_entry(seed):
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(40, 4))).float()
    axes, mirrored = (CategoryAxes.principal(one, 4).analysis for one in (x, -x))
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()
    torch.testing.assert_close(mirrored, axes, atol=1e-4, rtol=0)


def test_the_mean_is_that_of_the_rows():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 3))).float() + 7
    torch.testing.assert_close(CategoryAxes.principal(x, 2).mean, x.mean(dim=0))
