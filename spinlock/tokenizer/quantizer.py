"""Residual vector quantisation of all categories at once, with moving-average codebooks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from spinlock.tokenizer.codebook import code_norms, code_scores, residual_tokens

SMOOTHING = 1e-5


@dataclass(frozen=True)
class Quantized:
    """What quantisation of a batch gives.

    Attributes
    ----------
    tokens : Tensor [L, C, B]
        Code index per level, category and row.
    prefixes : list [L] of Tensor [C, B, E]
        Sum of the code vectors of levels 0..l.
    residuals : list [L] of Tensor [C, B, E]
        What level l had to quantise; carries the gradient of the encoder.
    """

    tokens: Tensor
    prefixes: list[Tensor]
    residuals: list[Tensor]

    @property
    def codes(self) -> Tensor:
        """Sum of the code vectors of all levels, [C, B, E]."""
        return self.prefixes[-1]


class ResidualQuantizer(nn.Module):
    """Residual books for C categories and L levels, padded to the largest book of a level.

    Codebook arithmetic is float32 whatever the autocast. Padded codes are infinitely far, so
    they are never taken and never counted.

    Parameters
    ----------
    sizes : int array [C, L]
        Number of codes per category and level.
    dim : int
        E, width of an embedding.
    decay : float
        Of the moving averages.
    use_ema : bool
        Codes follow moving averages; else they are trained by gradient.
    """

    def __init__(
        self, sizes: Sequence[Sequence[int]], dim: int, *, decay: float = 0.99, use_ema: bool = True
    ):
        super().__init__()
        self.sizes = np.asarray(sizes, int)
        self.dim = dim
        self.decay = decay
        self.use_ema = use_ema
        for level in range(self.n_levels):
            n_codes = int(self.sizes[:, level].max())
            shape = (self.n_categories, n_codes)
            self.register_parameter(
                f"codes_{level}", nn.Parameter(torch.zeros(*shape, dim), requires_grad=not use_ema)
            )
            self.register_buffer(f"count_{level}", torch.zeros(shape))
            self.register_buffer(f"sum_{level}", torch.zeros(*shape, dim))
            self.register_buffer(f"projector_{level}", torch.empty(0))
            valid = torch.arange(n_codes) < torch.as_tensor(self.sizes[:, level]).unsqueeze(1)
            self.register_buffer(f"valid_{level}", valid, persistent=False)

    @property
    def n_categories(self) -> int:
        """C, the number of categories."""
        return self.sizes.shape[0]

    @property
    def n_levels(self) -> int:
        """L, the number of levels."""
        return self.sizes.shape[1]

    def codes(self, level: int) -> Tensor:
        """Return the padded codes [C, K, E] of a level."""
        return getattr(self, f"codes_{level}")

    def valid(self, level: int) -> Tensor:
        """Return which codes [C, K] of a level exist."""
        return getattr(self, f"valid_{level}")

    def count(self, level: int) -> Tensor:
        """Return the moving average of the use [C, K] of each code."""
        return getattr(self, f"count_{level}")

    def sums(self, level: int) -> Tensor:
        """Return the moving average of the sum [C, K, E] of what each code quantised."""
        return getattr(self, f"sum_{level}")

    def book(self, category: int, level: int) -> Tensor:
        """Return the codes [K, E] of one book, without padding."""
        return self.codes(level)[category, : self.sizes[category, level]]

    def set_books(self, books: Sequence[Sequence[Tensor]], share: float = 1.0) -> None:
        """Set all books [category][level] of [K, E']; each code starts as used equally.

        `share` is the number of rows that a batch brings to a book, so that the first batches
        weigh against the start as later ones weigh against the average.
        """
        with torch.no_grad():
            for level in range(self.n_levels):
                self.codes(level).zero_()
                for c, book in enumerate(books):
                    codes = book[level]
                    self.codes(level)[c, : len(codes), : codes.shape[1]] = codes
                sizes = torch.as_tensor(self.sizes[:, level], device=self.count(level).device)
                uniform = share / sizes.unsqueeze(1).to(torch.float32)
                self.count(level).copy_(self.valid(level) * uniform)
                self.sums(level).copy_(self.codes(level) * self.count(level).unsqueeze(-1))

    def set_projector(self, level: int, projector: Tensor) -> None:
        """Restrict a level to subspaces: orthogonal projectors [C, E, E]; empty for no limit."""
        self.register_buffer(f"projector_{level}", projector.clone())

    def project(self, residual: Tensor, level: int) -> Tensor:
        """Return the part of residuals [C, B, E] that the latent space of a level holds."""
        projector = getattr(self, f"projector_{level}")
        return torch.bmm(residual, projector) if projector.numel() else residual

    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def forward(self, z: Tensor) -> Quantized:
        """Quantise embeddings z [C, B, E] greedily, level by level."""
        z = z.float()
        tokens, prefixes, residuals = [], [], []
        total = torch.zeros_like(z)
        for level in range(self.n_levels):
            residual = self.project(z - total.detach(), level)
            codes = self.codes(level)
            with torch.no_grad():
                norms = code_norms(codes, self.valid(level))
                index = code_scores(residual, codes, norms).argmin(dim=-1)
            total = total + take_codes(codes, index)
            tokens.append(index)
            prefixes.append(total)
            residuals.append(residual)
        return Quantized(torch.stack(tokens), prefixes, residuals)

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def encode(self, z: Tensor, beam: int = 1) -> Tensor:
        """Return tokens [C, B, L] of embeddings z [C, B, E], following `beam` encodings."""
        z = z.float()
        books = [[self.book(c, level) for level in range(self.n_levels)] for c in range(len(z))]
        return torch.stack([residual_tokens(z[c], books[c], beam) for c in range(len(z))])

    def decode(self, tokens: Tensor, levels: int | None = None) -> Tensor:
        """Return the sum of the code vectors [C, B, E] of tokens [C, B, L], of the first levels."""
        used = range(self.n_levels if levels is None else levels)
        total = self.codes(0).new_zeros(*tokens.shape[:2], self.dim)
        for level in used:
            total = total + take_codes(self.codes(level), tokens[..., level])
        return total

    @torch.no_grad()
    def update_averages(self, quantized: Quantized) -> None:
        """Move counts, sums and codes towards a batch (van den Oord et al. 2017, appendix A.1)."""
        for level in range(self.n_levels):
            batch_count, batch_sum = self._batch_statistics(quantized, level)
            self.count(level).lerp_(batch_count, 1 - self.decay)
            self.sums(level).lerp_(batch_sum, 1 - self.decay)
            self.codes(level).copy_(self._smoothed_codes(level))

    def _batch_statistics(self, quantized: Quantized, level: int) -> tuple[Tensor, Tensor]:
        count, total = torch.zeros_like(self.count(level)), torch.zeros_like(self.sums(level))
        n_codes = count.shape[1]
        index = flat_index(quantized.tokens[level], n_codes)
        count.view(-1).index_add_(0, index, torch.ones_like(index, dtype=count.dtype))
        residual = quantized.residuals[level].detach().flatten(0, 1)
        total.view(-1, self.dim).index_add_(0, index, residual)
        return count, total

    def _smoothed_codes(self, level: int) -> Tensor:
        """Return sum / count with Laplace smoothing, which never enters the averages themselves."""
        count = self.count(level)
        mass = count.sum(dim=1, keepdim=True)
        n_codes = self.valid(level).sum(dim=1, keepdim=True)
        smoothed = (count + SMOOTHING) / (mass + n_codes * SMOOTHING) * mass
        codes = self.sums(level) / smoothed.clamp_min(SMOOTHING).unsqueeze(-1)
        return torch.where(self.valid(level).unsqueeze(-1), codes, 0.0)

    @torch.no_grad()
    def reset_dead_codes(
        self,
        quantized: Quantized,
        generator: torch.Generator,
        *,
        threshold: float,
        max_fraction: float,
    ) -> Tensor:
        """Give dead codes new places; return how many per category and level [C, L].

        A code is dead when its use is below 1/threshold of a uniform share of its book. At
        most `max_fraction` of a book moves at once, the least used first, each to what a
        random row of the batch left for the level; code, moving sum and count move together.
        """
        moved = torch.zeros(self.n_categories, self.n_levels, dtype=torch.long)
        for level in range(self.n_levels):
            residual = quantized.residuals[level].detach()
            count = self.count(level).cpu()
            for c in range(self.n_categories):
                size = int(self.sizes[c, level])
                use = count[c, :size]
                share = use.mean()
                least_used = use.argsort()[: int(max_fraction * size)]
                dead = least_used[use[least_used] < share / threshold]
                if len(dead):
                    rows = torch.randint(residual.shape[1], (len(dead),), generator=generator)
                    self._place(c, level, dead, residual[c, rows.to(residual.device)], share)
                    moved[c, level] = len(dead)
        return moved

    def _place(self, category: int, level: int, codes: Tensor, at: Tensor, share: Tensor) -> None:
        codes = codes.to(at.device)
        self.codes(level)[category, codes] = at
        self.count(level)[category, codes] = share.to(at.device)
        self.sums(level)[category, codes] = at * share.to(at.device)


def take_codes(codes: Tensor, index: Tensor) -> Tensor:
    """Return the code vectors [C, B, E] of indices [C, B] into codes [C, K, E]."""
    flat = flat_index(index, codes.shape[1])
    return codes.flatten(0, 1).index_select(0, flat).unflatten(0, index.shape)


def flat_index(index: Tensor, n_codes: int) -> Tensor:
    """Return indices [C, B] into per-category books as indices [C · B] into all of them."""
    offset = torch.arange(len(index), device=index.device).unsqueeze(1) * n_codes
    return (index + offset).flatten()


def straight_through(z: Tensor, quantized: Tensor) -> Tensor:
    """Return `quantized` with the gradient of z (Bengio et al. 2013)."""
    return z + (quantized - z).detach()
