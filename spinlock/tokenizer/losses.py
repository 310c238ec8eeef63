"""The five terms of the training loss; docs/method.md has their equations.

All are means over rows, so their weights do not depend on the batch size.
"""

import torch
from torch import Tensor

PAIR_ROWS = 64  # rows whose codes are compared within a book
SAME_CODE = 1e-5  # of the largest value: closer rows took one code, up to straight-through rounding
TINY = 1e-8


def reconstruction_loss(x: Tensor, decoded: Tensor) -> Tensor:
    """Return the mean squared error of decoded [B, D] against x [B, D]."""
    return (x - decoded).square().mean()


def quantization_loss(
    residuals: list[Tensor],
    codes: list[Tensor],
    n_dims: Tensor,
    commitment_cost: float,
    *,
    train_codes: bool,
) -> Tensor:
    """Return the commitment of the encoder, and the pull on the codes when they are trained.

    Σ_l mean(β ‖r_l − sg(q_l)‖² + ‖sg(r_l) − q_l‖²), the second term only when `train_codes`
    (van den Oord et al. 2017, equation 3).

    Parameters
    ----------
    residuals, codes : list [L] of Tensor [C, B, E]
        What each level had to quantise, and the code vectors it took.
    n_dims : Tensor [C, 1, E]
        1 where a category's embedding has the dimension, 0 where it is padding.
    """
    loss = residuals[0].new_zeros(())
    n_values = n_dims.sum() * residuals[0].shape[1]
    for residual, code in zip(residuals, codes, strict=True):
        loss = loss + commitment_cost * (residual - code.detach()).square().sum() / n_values
        if train_codes:
            loss = loss + (residual.detach() - code).square().sum() / n_values
    return loss


def orthogonality_loss(z: Tensor, code_vectors: Tensor, n_dims: Tensor) -> Tensor:
    """Return the dependence between categories plus that between the codes of a book.

    Between categories a ≠ b: the mean squared correlation of the dimensions of their
    embeddings over the batch. Within books: the mean squared cosine of the codes that
    different rows took, which carries the gradient of the embeddings.

    Parameters
    ----------
    z : Tensor [C, B, E]
        Embeddings.
    code_vectors : Tensor [C, B, E]
        Code vectors with the straight-through gradient.
    n_dims : Tensor [C, 1, E]
        1 for real dimensions, 0 for padding.
    """
    return _between_categories(z, n_dims) + _within_books(code_vectors[:, :PAIR_ROWS])


def _between_categories(z: Tensor, n_dims: Tensor) -> Tensor:
    n_categories, n_rows, width = z.shape
    if n_categories < 2 or n_rows < 2:
        return z.new_zeros(())
    centred = z - z.mean(dim=1, keepdim=True)
    unit = centred / centred.square().sum(dim=1, keepdim=True).add(TINY).sqrt()
    flat = unit.transpose(0, 1).flatten(1)
    squared = (flat.T @ flat).square()
    category = torch.arange(n_categories, device=z.device).repeat_interleave(width)
    exists = n_dims.flatten() > 0
    pairs = (category.unsqueeze(0) != category.unsqueeze(1)) & exists & exists.unsqueeze(1)
    return (squared * pairs).sum() / pairs.sum().clamp_min(1)


def _within_books(code_vectors: Tensor) -> Tensor:
    unit = code_vectors / code_vectors.square().sum(-1, keepdim=True).add(TINY).sqrt()
    cosine = unit @ unit.transpose(1, 2)
    with torch.no_grad():
        codes = code_vectors.float()
        # without a matrix product, whose rounding would tell equal codes apart
        distance = torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist")
        differ = distance > SAME_CODE * codes.abs().max()
    return (cosine.square() * differ).sum() / differ.sum().clamp_min(1)


def informativeness_loss(x: Tensor, decoded: list[Tensor], mask: Tensor) -> Tensor:
    """Return the mean squared error of the partial decoders, averaged over prefixes.

    Parameters
    ----------
    x : Tensor [C, B, W]
        Columns by category.
    decoded : list [L] of Tensor [C, B, W]
        What the codes of levels 0..l of a category alone say of its columns.
    mask : Tensor [C, W]
        1 for real columns, 0 for padding.
    """
    n_values = mask.sum() * x.shape[1]
    errors = [((x - one) * mask.unsqueeze(1)).square().sum() / n_values for one in decoded]
    return torch.stack(errors).mean()


def topographic_loss(x: Tensor, code_vectors: Tensor) -> Tensor:
    """Return 1 − the correlation of input distances with code distances, over pairs i < j.

    Parameters
    ----------
    x : Tensor [B, D]
        Normalised rows.
    code_vectors : Tensor [C, B, E]
        Decoded embeddings of all categories, with the straight-through gradient.
    """
    n_rows = len(x)
    if n_rows < 3:
        return x.new_zeros(())
    rows, columns = torch.triu_indices(n_rows, n_rows, offset=1, device=x.device)
    between_inputs = distances(x)[rows, columns]
    between_codes = distances(code_vectors.transpose(0, 1).flatten(1))[rows, columns]
    return 1 - correlation(between_inputs, between_codes)


def distances(x: Tensor) -> Tensor:
    """Return the Euclidean distances [B, B] of rows x [B, D], from one Gram matrix."""
    norms = x.square().sum(1)
    squared = torch.addmm(norms.unsqueeze(1) + norms.unsqueeze(0), x, x.T, alpha=-2)
    return squared.clamp_min(TINY).sqrt()


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the Pearson correlation of two vectors; 0 when one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.square().sum() * b.square().sum() + TINY).sqrt()
