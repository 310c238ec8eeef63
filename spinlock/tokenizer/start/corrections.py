"""The corrections of the joint decoder, fitted to codes as unseen rows have them."""

import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import ROW_BLOCK, Rows
from spinlock.tokenizer.start.cross_fitting import Encoding, cross_fitted
from spinlock.tokenizer.start.ridge import Moments, ridge_correction

RIDGE_ROWS = 20_000  # at most, spread over all
OWN_SHARE = 0.5  # weight of the codes of the model's own books, in units of that of the others


@torch.no_grad()
def fit_corrections(
    model: TokenizerModel,
    train: Rows,
    validation: Rows,
    generator: torch.Generator | None = None,
) -> None:
    """Fit the ridge correction of the decoder for every prefix of the levels, in place.

    To train rows as the model encodes them; with a generator also to these together with the
    same rows encoded by books that have not seen them, and validation rows choose. At the full
    depth the correction is fitted around what the decoder's network adds.

    Parameters
    ----------
    model : TokenizerModel
    train, validation : Rows
    generator : torch.Generator, optional
        Deals the rows and starts k-means.
    """
    rows = train[:: max(1, -(-len(train) // RIDGE_ROWS))]
    own = Encoding(rows, model.tokenize(rows), model.quantizer)
    held_out = Encoding(validation, model.tokenize(validation), model.quantizer)
    others = list(cross_fitted(model, train, generator)) if generator else []
    for level in range(model.n_levels):
        decoded, target = _decoded(model, own, level)
        alone = Moments(decoded.mean(dim=0))
        alone.add(decoded, target)
        fits = [alone]
        if others:
            together = Moments(alone.origin)
            weight = OWN_SHARE * sum(len(one.rows) for one in others) / len(rows)
            together.add(decoded, target, weight)
            for one in others:
                together.add(*_decoded(model, one, level))
            fits.append(together)
        correction = ridge_correction(fits, *_decoded(model, held_out, level))
        model.decoder.set_correction(level, *correction)


def _decoded(model: TokenizerModel, encoding: Encoding, level: int) -> tuple[Tensor, Tensor]:
    """Return what the codes of levels 0..level decode by category [n, D], and what they should."""
    decoder, quantizer = model.decoder, encoding.quantizer
    own, target = torch.empty_like(encoding.rows.x), encoding.rows.x.clone()
    blocks = (values.split(ROW_BLOCK) for values in (own, target, encoding.tokens))
    for part, wanted, tokens in zip(*blocks, strict=True):
        codes = quantizer.decode(tokens.transpose(0, 1), level + 1)
        part.copy_(decoder.decode_own(codes))
        if level == model.n_levels - 1:
            wanted.sub_(decoder.decode_network(codes))
    return own, target
