"""Residual vector quantisation of all categories at once, with moving-average codebooks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spinlock.tokenizer.network.codebook import code_norms, code_scores, lowest
from spinlock.tokenizer.network.processes import sum_over_processes

SMOOTHING = 1e-5  # of a row at every code's own place
MOST_SCORES = 2**22  # of rows and codes that are compared at once on a CPU
FEWEST_ROWS = 32  # of them, whatever the number of codes: a compiled step writes out each block


@dataclass(frozen=True)
class Quantized:
    """What quantisation of a batch gives.

    Attributes
    ----------
    tokens : Tensor [L, C, B]
        Code index per level, category and row.
    taken : L tensors [C, B, E]
        The code vectors of each level; they carry the gradient of the codes, if those have one.
    prefixes : L tensors [C, B, E]
        Sum of the code vectors of levels 0..l, without gradient.
    residuals : L tensors [C, B, E]
        What level l had to quantise; they carry the gradient of the encoder.
    """

    tokens: Tensor
    taken: tuple[Tensor, ...]
    prefixes: tuple[Tensor, ...]
    residuals: tuple[Tensor, ...]

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
        # the books of all levels stand side by side, so that averages move in one operation
        self.widths = self.sizes.max(axis=0).tolist()
        shape = (self.n_categories, sum(self.widths))
        self.all_codes = nn.Parameter(torch.zeros(*shape, dim), requires_grad=not use_ema)
        self.register_buffer("all_counts", torch.zeros(shape))
        self.register_buffer("all_sums", torch.zeros(*shape, dim))
        for level in range(self.n_levels):
            self.register_buffer(f"projector_{level}", torch.empty(0))
        # in numpy: on the device "meta", where checkpoints compare shapes, tensors have no values
        level_of = np.repeat(np.arange(self.n_levels), self.widths)
        first = np.cumsum([0, *self.widths[:-1]])
        buffers = {
            "all_valid": np.arange(shape[1]) - first[level_of] < self.sizes[:, level_of],
            "first_place": (np.arange(self.n_categories) * shape[1] + first[:, None])[..., None],
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    @property
    def n_categories(self) -> int:
        """C, the number of categories."""
        return self.sizes.shape[0]

    @property
    def n_levels(self) -> int:
        """L, the number of levels."""
        return self.sizes.shape[1]

    def codes(self, level: int) -> Tensor:
        """Return the padded codes [C, K, E] of a level, a view."""
        return self._of_level(self.all_codes, level)

    def valid(self, level: int) -> Tensor:
        """Return which codes [C, K] of a level exist."""
        return self._of_level(self.all_valid, level)

    def count(self, level: int) -> Tensor:
        """Return the moving average of the use [C, K] of each code, a view."""
        return self._of_level(self.all_counts, level)

    def sums(self, level: int) -> Tensor:
        """Return the moving average of the sum [C, K, E] of what each code quantised, a view."""
        return self._of_level(self.all_sums, level)

    def _of_level(self, values: Tensor, level: int) -> Tensor:
        return values.narrow(1, sum(self.widths[:level]), self.widths[level])

    def book(self, category: int, level: int) -> Tensor:
        """Return the codes [K, E] of one book, without padding."""
        return self.codes(level)[category, : self.sizes[category, level]]

    def books(self, category: int, dim: int | None = None) -> list[Tensor]:
        """Return the codes [K_l, dim] of a category's books, of all dimensions by default."""
        return [self.book(category, level)[:, :dim] for level in range(self.n_levels)]

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

    def spaces(self, category: int, dim: int) -> list[Tensor]:
        """Return the projectors [dim, dim] of a category's levels; none where none has a limit."""
        projectors = [getattr(self, f"projector_{level}") for level in range(self.n_levels)]
        own = [one[category, :dim, :dim] for one in projectors if one.numel()]
        whole = torch.eye(dim, dtype=self.all_codes.dtype, device=self.all_codes.device)
        return [] if all(torch.equal(one, whole) for one in own) else own

    def project(self, residual: Tensor, level: int) -> Tensor:
        """Return the part of residuals [C, B, E] that the latent space of a level holds."""
        projector = getattr(self, f"projector_{level}")
        return torch.bmm(residual, projector) if projector.numel() else residual

    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def forward(self, z: Tensor) -> Quantized:
        """Quantise embeddings z [C, B, E] greedily, level by level."""
        levels = self._greedily(at_least_float32(z))
        tokens, taken, prefixes, residuals = zip(*levels, strict=True)
        return Quantized(torch.stack(tokens), taken, prefixes, residuals)

    def _greedily(self, z: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Give each level's tokens [C, B], codes taken, sum of codes so far, and residuals."""
        prefix = None
        norms = code_norms(self.all_codes.detach(), self.all_valid)
        for level in range(self.n_levels):
            residual = self.project(z if prefix is None else z - prefix, level)
            with torch.no_grad():
                level_norms = norms.narrow(-1, sum(self.widths[:level]), self.widths[level])
                index = _nearest(residual, self.codes(level), level_norms)
            code = self.take(index, level)
            prefix = code.detach() if prefix is None else prefix + code.detach()
            yield index, code, prefix, residual

    def take(self, index: Tensor, level: int) -> Tensor:
        """Return the code vectors [C, B, E] of indices [C, B] into the books of a level."""
        place = self.places(index, level)
        return self.all_codes.flatten(0, 1).index_select(0, place).unflatten(0, index.shape)

    def decode(self, tokens: Tensor, levels: int | None = None) -> Tensor:
        """Return the sum of the code vectors [C, B, E] of tokens [C, B, L], of the first levels."""
        used = range(self.n_levels if levels is None else levels)
        total = self.all_codes.new_zeros(*tokens.shape[:2], self.dim)
        for level in used:
            total = total + self.take(tokens[..., level], level)
        return total

    @torch.no_grad()
    def update_averages(self, quantized: Quantized) -> None:
        """Move counts, sums and codes towards a batch (van den Oord et al. 2017, appendix A.1).

        Codes that follow gradients stay where they are, but in the space of their level, which an
        optimiser that scales element by element leaves; their use is counted all the same.
        """
        count, total = self._batch_statistics(quantized)
        self.all_counts.lerp_(count, 1 - self.decay)
        self.all_sums.lerp_(total, 1 - self.decay)
        if self.use_ema:
            self.all_codes.copy_(self._smoothed_codes())
        else:
            for level in range(self.n_levels):
                if getattr(self, f"projector_{level}").numel():
                    self.codes(level).copy_(self.project(self.codes(level), level))

    def _batch_statistics(self, quantized: Quantized) -> tuple[Tensor, Tensor]:
        """Return the use of each code by a batch, and the sum of what it stood for."""
        count, total = torch.zeros_like(self.all_counts), torch.zeros_like(self.all_sums)
        place = self.places(quantized.tokens)
        count_places(count, place)
        of_level = zip(place.chunk(self.n_levels), quantized.residuals, strict=True)
        for places, residual in of_level:
            total.view(-1, self.dim).index_add_(0, places, residual.detach().flatten(0, 1))
        return sum_over_processes(count), sum_over_processes(total)

    def places(self, tokens: Tensor, level: int | None = None) -> Tensor:
        """Return where codes stand among all [C · K]: of tokens [L, C, B], or [C, B] of a level."""
        first = self.first_place if level is None else self.first_place[level]
        return (tokens + first).flatten()

    def _smoothed_codes(self) -> Tensor:
        """Return sum / count with additive smoothing, which never enters the averages themselves.

        What is added stands at the code's own place, so a code that no row takes stays there:
        it may be one for a combination that train rows have not.
        """
        smoothed = self.all_sums + SMOOTHING * self.all_codes
        return smoothed / (self.all_counts + SMOOTHING).unsqueeze(-1)

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
                    # no row twice: of equal codes only one would be taken
                    rows = torch.randperm(residual.shape[1], generator=generator)[: len(dead)]
                    dead = dead[: len(rows)]
                    self._place(c, level, dead, residual[c, rows.to(residual.device)], share)
                    moved[c, level] = len(dead)
        return moved

    def _place(self, category: int, level: int, codes: Tensor, at: Tensor, share: Tensor) -> None:
        codes = codes.to(at.device)
        self.codes(level)[category, codes] = at
        self.count(level)[category, codes] = share.to(at.device)
        self.sums(level)[category, codes] = at * share.to(at.device)


def _nearest(z: Tensor, codes: Tensor, norms: Tensor) -> Tensor:
    """Return the nearest codes [C, B] of z [C, B, E], among codes [C, K, E] and their norms.

    On a CPU large books are compared with some rows after others, whose scores its caches hold.
    """
    rows = max(FEWEST_ROWS, MOST_SCORES // norms.numel() if z.device.type == "cpu" else z.shape[1])
    blocks = [lowest(code_scores(block, codes, norms)) for block in z.split(rows, dim=1)]
    return torch.cat(blocks, dim=1)


def count_places(counts: Tensor, place: Tensor) -> None:
    """Add to counts how often each of their places was taken, without leaving the device."""
    counts.view(-1).index_add_(0, place, counts.new_ones(()).expand(place.shape))


def at_least_float32(z: Tensor) -> Tensor:
    """Return z in float32, or in float64 when it is."""
    return z if z.dtype == torch.float64 else z.float()


def straight_through(z: Tensor, quantized: Tensor) -> Tensor:
    """Return exactly `quantized`, with the gradient of z (Bengio et al. 2013)."""
    return _StraightThrough.apply(z, quantized)


class _StraightThrough(torch.autograd.Function):
    """The usual quantized + (z − sg(z)), without its two passes."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, quantized: Tensor) -> Tensor:  # noqa: ARG004
        return quantized.view_as(quantized)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None
