"""Books estimated again from the tokens that rows have in the end."""

import torch

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.quantizer import count_places
from spinlock.tokenizer.network.rows import ROW_BLOCK, Rows
from spinlock.tokenizer.start.rare_events import rare_columns


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
