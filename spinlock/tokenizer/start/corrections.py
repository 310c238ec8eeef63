"""The corrections of the joint decoder, fitted to codes as unseen rows have them."""

from functools import partial

import torch
from torch import Tensor

from spinlock.tokenizer.network.decoder import JointDecoder
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.start.cross_fitting import Encoding, Encodings
from spinlock.tokenizer.start.ridge import Moments, ridge_regression


@torch.no_grad()
def fit_corrections(model: TokenizerModel, encodings: Encodings) -> None:
    """Fit the ridge correction of the decoder for every prefix of the levels, in place.

    To train rows as the model encodes them; where others encode them too, also to both
    together, and validation rows choose. At the full depth the correction is fitted around what
    the decoder's network adds. Columns with rare events are not corrected.
    """
    basis, size = _basis_of_own(model.decoder), (model.decoder.dims.total, model.layout.n_columns)
    add = partial(_add, model, encodings.rare)
    for level in range(model.n_levels):
        alone, held_out = Moments(*size, basis.device), Moments(*size, basis.device)
        add(alone, encodings.own, level)
        add(held_out, encodings.held_out, level)
        fits = [alone]
        if encodings.others:
            together = alone.scaled(encodings.own_weight)
            for one in encodings.others:
                add(together, one, level)
            fits.append(together)
        along = [one.along(basis) for one in fits]
        weights, offset = ridge_regression(along, held_out.along(basis))
        model.decoder.set_correction(level, basis @ weights, offset)


def _basis_of_own(decoder: JointDecoder) -> Tensor:
    """Return R [S, S] such that q R are as far apart as what codes q are decoded to by category.

    Of each category D_c = R_c Q_c, Q_c with orthonormal rows. A ridge along R is the one along
    decoded columns: it does not depend on the scale of the codes.
    """
    weights = decoder.own.weight.double().transpose(1, 2)
    of_categories = torch.linalg.qr(weights, mode="r").R.transpose(1, 2)
    sizes = decoder.dims.sizes
    blocks = (one[:size, :size] for one, size in zip(of_categories, sizes, strict=True))
    return torch.block_diag(*blocks)


def _add(
    model: TokenizerModel, rare: Tensor, moments: Moments, encoding: Encoding, level: int
) -> None:
    """Add the codes of levels 0..level, and what they miss where each category decodes its own.

    Of columns with rare events that is nothing.
    """
    decoder, whole = model.decoder, level == model.n_levels - 1
    for x, codes in encoding.blocks(level + 1):
        target = x - decoder.decode_network(codes) if whole else x
        missed = target.double() - decoder.decode_own(codes)
        moments.add(decoder.dims.compact(codes), missed.masked_fill_(rare, 0))
