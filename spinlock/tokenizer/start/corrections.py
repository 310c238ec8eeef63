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
    for level in range(model.n_levels):
        decoded, target = _decoded(model, own, level, rare)
        alone = Moments(decoded.mean(dim=0))
        alone.add(decoded, target)
        fits = [alone]
        if others:
            together = Moments(alone.origin)
            together.add(decoded, target, encodings.own_weight)
            for one in others:
                together.add(*_decoded(model, one, level, rare))
            fits.append(together)
        correction = ridge_correction(fits, *_decoded(model, encodings.held_out, level, rare))
        model.decoder.set_correction(level, *correction)


def _decoded(
    model: TokenizerModel, encoding: Encoding, level: int, rare: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the codes of levels 0..level decode by category [n, D], and what they should.

    Of columns with rare events that is the same.
    """
    decoder, quantizer = model.decoder, encoding.quantizer
    own, target = torch.empty_like(encoding.rows.x), encoding.rows.x.clone()
    blocks = (values.split(ROW_BLOCK) for values in (own, target, encoding.tokens))
    for part, wanted, tokens in zip(*blocks, strict=True):
        codes = quantizer.decode(tokens.transpose(0, 1), level + 1)
        part.copy_(decoder.decode_own(codes))
        if level == model.n_levels - 1:
            wanted.sub_(decoder.decode_network(codes))
        wanted[:, rare] = part[:, rare]
    return own, target
