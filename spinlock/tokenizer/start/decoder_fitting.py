"""The joint decoder, fitted to codes as unseen rows have them: corrections, then the network."""

import torch

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.corrections import fit_corrections
from spinlock.tokenizer.start.cross_fitting import encodings_of
from spinlock.tokenizer.start.decoder_network import fit_network


def fit_decoder(
    model: TokenizerModel, train: Rows, validation: Rows, generator: torch.Generator
) -> None:
    """Fit what mixes the codes of all categories, in place.

    Parameters
    ----------
    model : TokenizerModel
    train, validation : Rows
        Validation rows only choose between fits.
    generator : torch.Generator
        Deals and orders the rows, and starts k-means.
    """
    encodings = encodings_of(model, train, validation, generator)
    fit_corrections(model, encodings)
    fit_network(model, encodings, generator)
