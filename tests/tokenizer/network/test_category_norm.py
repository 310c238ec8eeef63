"""Batch normalisation of a category does not look at the others."""

import torch

from spinlock.tokenizer.network.category_norm import CategoryNorm


def test_each_category_is_normalised_by_itself():
    norm = CategoryNorm(2, 4).train()
    normalised = norm(torch.randn(2, 50, 4) * torch.tensor([1.0, 30.0]).view(2, 1, 1) + 5)
    torch.testing.assert_close(normalised.mean(1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std(1, correction=0), torch.ones(2, 4), atol=1e-3, rtol=0)
