"""Batch normalisation of each category by itself, over the rows of all processes."""

import torch
from torch import Tensor, nn

from spinlock.tokenizer.network.processes import (
    differentiable_sum,
    process_count,
    sum_over_processes,
)


class CategoryNorm(nn.Module):
    """Batch normalisation of [C, B, H], each category and unit by itself.

    In several processes the batch is that of all of them.
    """

    def __init__(self, n_categories: int, width: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_categories * width)
        self.shape = n_categories, 1, width

    def forward(self, h: Tensor) -> Tensor:
        """Normalise over the batch, in training; by the averages afterwards."""
        if not self.training:
            scale, shift = self.by_averages()
            return torch.addcmul(shift, h, scale)
        flat = h.transpose(0, 1).flatten(1)
        flat = self._together(flat) if process_count() > 1 else self.norm(flat)
        # laid out as h was: what follows is quicker by more than this copy takes
        return flat.unflatten(1, (h.shape[0], h.shape[2])).transpose(0, 1).contiguous()

    def by_averages(self) -> tuple[Tensor, Tensor]:
        """Return what h is multiplied by and what is added after training, both [C, 1, H]."""
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        return scale.view(self.shape), shift.view(self.shape)

    def _together(self, flat: Tensor) -> Tensor:
        """Normalise [b, C · H] by the moments of all processes' rows, and keep their averages."""
        norm = self.norm
        n_rows = float(sum_over_processes(torch.tensor(float(len(flat)), device=flat.device)))
        mean = differentiable_sum(flat.sum(dim=0)) / n_rows
        centred = flat - mean
        variance = differentiable_sum(centred.square().sum(dim=0)) / n_rows
        with torch.no_grad():
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * n_rows / max(n_rows - 1, 1), norm.momentum)
        return centred * (variance + norm.eps).rsqrt() * norm.weight + norm.bias
