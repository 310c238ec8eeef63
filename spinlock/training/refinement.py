"""What is fitted again once the gradient steps are done, kept only where it helps."""

import copy
from typing import Any

import torch

from spinlock.tokenizer.decoder import ridge_correction
from spinlock.tokenizer.initialization import RIDGE_ROWS, fit_corrections
from spinlock.tokenizer.model import TokenizerModel
from spinlock.tokenizer.quantizer import count_places
from spinlock.tokenizer.rows import ROW_BLOCK, Rows
from spinlock.training.validation import validation_entries


def refine(model: TokenizerModel, train: Rows, validation: Rows) -> list[dict[str, Any]]:
    """Re-estimate the books and the decoder's corrections; return one history entry per step.

    A step that does not lower the validation loss is undone, and says so. The corrections of
    the shorter prefixes are always fitted, since training only moves the whole one.
    """
    entries = []
    train_mean = train.x.mean(dim=0)
    for name, step in (("books", reestimate_books), ("decoder", refit_decoder)):
        before = validation_entries(model, validation, train_mean)
        kept = copy.deepcopy(model.state_dict())
        step(model, train, validation)
        after = validation_entries(model, validation, train_mean)
        accepted = after["val_loss"] < before["val_loss"]
        if not accepted:
            model.load_state_dict(kept)
        entries.append({"step": name, "accepted": accepted} | after)
    fit_corrections(model, train, validation, levels=range(model.n_levels - 1))
    return entries


@torch.no_grad()
def reestimate_books(model: TokenizerModel, train: Rows, validation: Rows) -> None:  # noqa: ARG001
    """Move every code to the mean of what it stands for, given the tokens of all levels.

    One Lloyd step per level with the encoder that is used in the end, the beam search.
    """
    quantizer = model.quantizer
    tokens = model.tokenize(train).transpose(0, 1)
    for level in range(quantizer.n_levels):
        codes = quantizer.all_codes
        count, total = torch.zeros_like(quantizer.all_counts), torch.zeros_like(codes)
        blocks = zip(train.split(ROW_BLOCK), tokens.split(ROW_BLOCK, dim=1), strict=True)
        for rows, block in blocks:
            index = block[..., level]
            others = quantizer.decode(block) - quantizer.take(index, level)
            rest = quantizer.project(model.encoder(rows.x, rows.fields) - others, level)
            place = quantizer.places(index, level)
            count_places(count, place)
            total.view(-1, quantizer.dim).index_add_(0, place, rest.flatten(0, 1))
        mean = total / count.clamp_min(1).unsqueeze(-1)
        codes.copy_(torch.where((count > 0).unsqueeze(-1), mean, codes))


@torch.no_grad()
def refit_decoder(model: TokenizerModel, train: Rows, validation: Rows) -> None:
    """Fit the correction of the full depth anew, around what the network adds."""
    decoder, last = model.decoder, model.n_levels - 1
    parts = []
    for rows in (train[:RIDGE_ROWS], validation):
        tokens = model.tokenize(rows)
        rest = rows.x.clone()
        for part, block in zip(rest.split(ROW_BLOCK), tokens.split(ROW_BLOCK), strict=True):
            part.sub_(decoder.decode_network(model.embed(block).transpose(0, 1)))
        parts += [model.decode_own(tokens, model.n_levels), rest]
    decoder.set_correction(last, *ridge_correction(*parts))
