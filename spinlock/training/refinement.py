"""What is fitted again once the gradient steps are done, kept only where it helps."""

import copy
from collections.abc import Callable
from typing import Any

import torch

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.quantizer import count_places
from spinlock.tokenizer.network.rows import ROW_BLOCK, Rows
from spinlock.tokenizer.start.decoder_fitting import fit_decoder
from spinlock.tokenizer.start.rare_events import rare_columns
from spinlock.training.validation import validation_entries

Step = Callable[[], object]


def refine(model: TokenizerModel, train: Rows, validation: Rows, seed: int) -> list[dict[str, Any]]:
    """Re-estimate the books and fit the decoder again; return one history entry per step.

    A step that does not lower the validation loss is undone, and says so.

    Parameters
    ----------
    model : TokenizerModel
        Changed in place.
    train, validation : Rows
    seed : int
        Of what fitting the decoder draws.
    """
    last = model.n_levels - 1
    generator = torch.Generator().manual_seed(seed)
    books = copy.deepcopy(model.quantizer.state_dict())
    correction = model.decoder.correction(last)
    network = copy.deepcopy(model.decoder.network.state_dict())

    def undo_decoder() -> None:
        model.decoder.set_correction(last, *correction)
        model.decoder.network.load_state_dict(network)

    steps: dict[str, tuple[Step, Step]] = {
        "books": (
            lambda: reestimate_books(model, train),
            lambda: model.quantizer.load_state_dict(books),
        ),
        "decoder": (
            lambda: fit_decoder(model, train, validation, generator),
            undo_decoder,
        ),
    }
    entries = []
    train_mean = train.x.mean(dim=0)
    for name, (do, undo) in steps.items():
        before = validation_entries(model, validation, train_mean)
        do()
        after = validation_entries(model, validation, train_mean)
        accepted = after["val_loss"] < before["val_loss"]
        if not accepted:
            undo()
        entries.append({"step": name, "accepted": accepted} | after)
    return entries


@torch.no_grad()
def reestimate_books(model: TokenizerModel, train: Rows) -> None:
    """Move every code to the mean of what it stands for, given the tokens of all levels.

    One Lloyd step per level with the encoder that is used in the end, the beam search. Codes of
    categories with rare events, but of one column, stay: they were fitted to combinations that no
    train row has.
    """
    alone = torch.tensor(model.layout.sizes, device=train.x.device) == 1
    rare = model.layout.gather(rare_columns(train.x).to(train.x.dtype).unsqueeze(0))
    moving = alone | ~rare.flatten(1).any(dim=1)
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
        moved = (count > 0) & moving.unsqueeze(1)
        codes.copy_(torch.where(moved.unsqueeze(-1), mean, codes))
