"""The corrections of the joint decoder, fitted to codes as unseen rows have them."""

import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import ROW_BLOCK
from spinlock.tokenizer.start.cross_fitting import Encoding, Encodings
from spinlock.tokenizer.start.ridge import Moments, ridge_correction


@torch.no_grad()
def fit_corrections(model: TokenizerModel, encodings: Encodings) -> None:
    """Fit the ridge correction of the decoder for every prefix of the levels, in place.

    To train rows as the model encodes them; where others encode them too, also to both
    together, and validation rows choose. At the full depth the correction is fitted around what
    the decoder's network adds. Columns with rare events are not corrected.
    """
    own, others, rare = encodings.own, encodings.others, encodings.rare
    origin = own.rows.x.mean(dim=0)  # what is decoded has about the same
    for level in range(model.n_levels):
        alone, held_out = Moments(origin), Moments(origin)
        _add(alone, model, own, level, rare)
        _add(held_out, model, encodings.held_out, level, rare)
        fits = [alone]
        if others:
            together = alone.scaled(encodings.own_weight)
            for one in others:
                _add(together, model, one, level, rare)
            fits.append(together)
        model.decoder.set_correction(level, *ridge_correction(fits, held_out))


def _add(
    moments: Moments, model: TokenizerModel, encoding: Encoding, level: int, rare: Tensor
) -> None:
    """Add what the codes of levels 0..level decode by category, and what they should.

    Of columns with rare events that is the same.
    """
    decoder, quantizer = model.decoder, encoding.quantizer
    whole = level == model.n_levels - 1
    blocks = (values.split(ROW_BLOCK) for values in (encoding.rows.x, encoding.tokens))
    for x, tokens in zip(*blocks, strict=True):
        codes = quantizer.decode(tokens.transpose(0, 1), level + 1)
        own = decoder.decode_own(codes)
        target = x - decoder.decode_network(codes) if whole else x
        moments.add(own, torch.where(rare, own, target))
