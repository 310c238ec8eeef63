"""Books of codes as plain tensors: scores, and residual encoding with a beam."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ROW_BLOCK = 2048


def lowest(scores: Tensor) -> Tensor:
    """Return the index [...] of the lowest of scores [..., K], the first of equals.

    On a CPU numpy finds them several times as fast as torch does, but for a compiled model.
    """
    if scores.device.type != "cpu" or torch.compiler.is_compiling():
        return scores.argmin(dim=-1)
    return torch.from_numpy(scores.numpy().argmin(axis=-1))


def take_lowest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k lowest [n, k] of scores [n, K], ascending, and their places.

    They are taken out: infinity is left there. Of equals the first comes first, for k = 1 on
    any device.
    """
    # numpy is several times as fast, also k times in a row; exported graphs do without
    if scores.device.type == "cpu" and not torch.compiler.is_compiling():
        values, places = _take_lowest_by_numpy(scores.numpy(), k)
        return torch.from_numpy(values), torch.from_numpy(places)
    if k == 1:  # unlike topk, min gives the first of equals
        values, places = scores.min(dim=-1, keepdim=True)
    else:
        values, places = scores.topk(k, dim=-1, largest=False, sorted=True)
    scores.scatter_(-1, places, torch.inf)
    return values, places


def _take_lowest_by_numpy(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.empty((len(scores), k), scores.dtype)
    places = np.empty((len(scores), k), np.int64)
    rows = np.arange(len(scores))
    for i in range(k):
        place = scores.argmin(axis=-1)
        values[:, i], places[:, i] = scores[rows, place], place
        scores[rows, place] = np.inf
    return values, places


def code_norms(codes: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return ‖c‖² [..., 1, K] of codes [..., K, E]; +inf where a code is padding."""
    norms = codes.square().sum(-1)
    if valid is not None:
        norms = norms.masked_fill(~valid, torch.inf)
    return norms.unsqueeze(-2)


def code_scores(z: Tensor, codes: Tensor, norms: Tensor) -> Tensor:
    """Return ‖z − c‖² − ‖z‖² [..., B, K] of z [..., B, E], enough to compare codes.

    A code whose norm is infinite is infinitely far: see `code_norms`.
    """
    if z.dim() == 3:
        return torch.baddbmm(norms, z, codes.transpose(-1, -2), alpha=-2)
    return torch.addmm(norms, z, codes.T, alpha=-2)


def code_errors(
    residual: Tensor, codes: Tensor, norms: Tensor, error: Tensor | None = None
) -> Tensor:
    """Return ‖r − c‖² [n, K] of residuals r [n, E] and codes, by which codes are compared.

    In float64 they are sums of squared differences, which tell codes apart also where all are far
    from the origin. In float32 and in exported graphs they are `code_scores`, many times as fast,
    and ‖r‖², which all codes share, is in them only where it is given as `error` [n].
    """
    if residual.dtype == torch.float64 and not torch.compiler.is_compiling():
        direct = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(residual, codes, compute_mode=direct)
        return distances.square_().masked_fill_(norms.isinf(), torch.inf)
    scores = code_scores(residual, codes, norms)
    return scores if error is None else scores.add_(error.unsqueeze(-1))


class Book(NamedTuple):
    """Codes to search: [K, E], and their ‖c‖² [1, K], infinite where an earlier code is the same.

    So of equal codes the first is taken, however the distances are added up.
    """

    codes: Tensor
    norms: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> "Book":
        """Return the book of codes [K, E]."""
        codes = codes.contiguous()
        rows = codes.detach().cpu().numpy() + 0.0  # so that −0 is 0
        as_bytes = rows.view(f"V{rows.itemsize * rows.shape[1]}")  # compared faster than numbers
        _, first = np.unique(as_bytes, return_index=True)
        new = torch.zeros(len(codes), dtype=torch.bool)
        new[torch.from_numpy(first)] = True
        return cls(codes, code_norms(codes, new.to(codes.device)))

    def double(self) -> "Book":
        """Return the book in float64, with the same codes left out."""
        codes = self.codes.double()
        return Book(codes, code_norms(codes, self.norms[0].isfinite()))


class Found(NamedTuple):
    """Tokens [n, L] of rows, and how clearly they were chosen [n].

    The margin is the smallest difference of squared errors between what was kept and what was
    not, over any level, in units of 1 + ‖z‖² + the score that was kept: below
    what the arithmetic rounds off, the choice was one of rounding.
    """

    tokens: Tensor
    margin: Tensor


class Beam:
    """The best partial encodings of rows, extended one residual level at a time.

    Attributes
    ----------
    residual : Tensor [n, width, E]
        What is left of each row after the levels so far.
    tokens : Tensor [n, width, level]
    error : Tensor [n, width]
        ‖residual‖², ascending.
    margin : Tensor [n]
        See `Found`; of what was left out so far.
    """

    def __init__(self, z: Tensor, width: int):
        self.width = width
        self.residual = z.unsqueeze(1)
        self.error = z.square().sum(-1, keepdim=True)
        self.tokens = torch.empty(z.shape[0], 1, 0, dtype=torch.long, device=z.device)
        self.scale = 1 + self.error[:, 0]
        self.margin = torch.full_like(self.scale, torch.inf)

    def extend(
        self, codes: Tensor, norms: Tensor | None = None, *, width: int | None = None
    ) -> None:
        """Add a level whose codes are [K, E], keeping the `width` best encodings of each row.

        By default as many as were followed so far.
        """
        n_rows, paths, _ = self.residual.shape
        norms = code_norms(codes) if norms is None else norms
        residual = self.residual.flatten(0, 1)
        errors = code_errors(residual, codes, norms, self.error.flatten())
        errors = errors.unflatten(0, (n_rows, paths)).flatten(1)
        self.error, chosen = take_lowest(errors, min(width or self.width, errors.shape[1]))
        margin = relative_margin(self.error[:, -1], errors.amin(-1), self.scale)
        self.margin = torch.fmin(self.margin, margin)
        path, code = chosen // len(codes), chosen % len(codes)
        path = path + paths * torch.arange(n_rows, device=path.device).unsqueeze(1)
        left = residual.index_select(0, path.flatten()) - codes.index_select(0, code.flatten())
        self.residual = left.unflatten(0, path.shape)
        self.tokens = torch.cat([self.tokens.flatten(0, 1)[path], code.unsqueeze(-1)], dim=-1)


def relative_margin(kept: Tensor, left: Tensor, scale: Tensor) -> Tensor:
    """Return how far apart the scores of what is kept and left are."""
    return (left - kept) / (scale + kept.abs())


def residual_tokens(z: Tensor, codes: Sequence[Tensor], beam: int) -> Tensor:
    """Return tokens [n, L] of rows z [n, E] under residual books of codes [K_l, E].

    `beam` partial encodings are followed; 1 is the greedy choice.
    """
    books = [Book.of(book) for book in codes]
    return torch.cat([search(block, books, beam).tokens for block in z.split(ROW_BLOCK)])


def search(z: Tensor, books: Sequence[Book], beam: int) -> Found:
    """Find the tokens of rows z [n, E], of all rows at once."""
    if beam == 1:
        return _greedily(z, books)
    partial = Beam(z, beam)
    for book in books[:-1]:
        partial.extend(*book)
    partial.extend(*books[-1], width=1)
    return Found(partial.tokens[:, 0], partial.margin)


def _greedily(z: Tensor, books: Sequence[Book]) -> Found:
    """Take each level's nearest code to what is left."""
    tokens, kept, left = [], [], []
    residual = z
    for codes, norms in books:
        scores = code_errors(residual, codes, norms)
        score, chosen = take_lowest(scores, 1)
        tokens.append(chosen)
        kept.append(score)
        left.append(scores.amin(-1))
        residual = residual - codes.index_select(0, chosen[:, 0])
    scale = 1 + z.square().sum(-1, keepdim=True)
    margin = relative_margin(torch.cat(kept, dim=-1), torch.stack(left, dim=-1), scale)
    return Found(torch.cat(tokens, dim=-1), margin.amin(-1))
