"""The network of the joint decoder, fitted to what linear decoding misses."""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from spinlock.tokenizer.network.decoder import JointDecoder
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.products import quick_products
from spinlock.tokenizer.start.cross_fitting import Encoding, Encodings

EPOCHS = 20
BATCH_ROWS = 512
LEARNING_RATE = 1e-3
DROPOUT = 0.4  # of the hidden layer, whatever training does
DROPOUT_OF_MANY = 0.1  # where rows are so many that none are encoded by books of others


def fit_network(model: TokenizerModel, encodings: Encodings, generator: torch.Generator) -> None:
    """Fit the network to what the linear decoding of all levels misses, in place.

    By gradient steps (Adam, the rate falls to zero along a cosine). After every epoch validation
    rows are decoded, and the weights that miss least are taken: those that it began with, where no
    epoch helps.

    Parameters
    ----------
    model : TokenizerModel
    encodings : Encodings
    generator : torch.Generator
        Orders the rows, and drops hidden units.
    """
    decoder = model.decoder
    codes, missed = _examples(model, [encodings.own, *encodings.others], encodings.rare)
    weights = codes.new_ones(len(codes), 1)
    weights[: len(encodings.own.rows)] = encodings.own_weight
    weights /= weights.mean()
    held_out = encodings.held_out, encodings.rare
    dropout = DROPOUT if encodings.others else DROPOUT_OF_MANY
    lowest, best = _error(model, *held_out), copy.deepcopy(decoder.network.state_dict())
    for _ in _epochs(decoder, codes, missed, weights, dropout, generator):
        error = _error(model, *held_out)
        if error < lowest:
            lowest, best = error, copy.deepcopy(decoder.network.state_dict())
    decoder.network.load_state_dict(best)


def _examples(
    model: TokenizerModel, encodings: list[Encoding], rare: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `_blocks` gives of all encodings as one: codes [n, S], and what they miss [n, D].

    It is put in place: blocks that are kept would be there twice when they are put together.
    """
    n_rows, x = sum(len(one.rows) for one in encodings), encodings[0].rows.x
    codes = x.new_empty(n_rows, model.decoder.dims.total)
    missed = x.new_empty(n_rows, model.decoder.layout.n_columns)
    first = 0
    for one in encodings:
        for code, miss in _blocks(model, one, rare):
            block = slice(first, first + len(code))
            codes[block], missed[block] = code, miss
            first += len(code)
    return codes, missed


@torch.no_grad()
def _blocks(
    model: TokenizerModel, encoding: Encoding, rare: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give codes of all categories side by side [B, S], and what they miss linearly [B, D].

    Of columns with rare events that counts as nothing.
    """
    decoder = model.decoder
    for x, codes in encoding.blocks():
        missed = x - decoder.decode_linear(codes, model.n_levels - 1)
        missed[:, rare] = 0.0
        yield decoder.dims.compact(codes), missed


@torch.no_grad()
def _error(model: TokenizerModel, encoding: Encoding, rare: Tensor) -> float:
    """Return the squared error that the network leaves, of all rows."""
    network = model.decoder.network.eval()
    blocks = _blocks(model, encoding, rare)
    return sum(float((missed - network(codes)).square().double().sum()) for codes, missed in blocks)


def _epochs(
    decoder: JointDecoder,
    codes: Tensor,
    missed: Tensor,
    weights: Tensor,
    dropout: float,
    generator: torch.Generator,
) -> Iterator[None]:
    """Train the network, pausing after every epoch."""
    first, activation, _, last = decoder.network
    optimizer = torch.optim.Adam(decoder.network.parameters(), lr=LEARNING_RATE)
    optimizer.zero_grad()  # training may have left some
    n_batches = math.ceil(len(codes) / BATCH_ROWS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * n_batches)
    drawn = int(torch.randint(2**31, (1,), generator=generator))
    noise = torch.Generator(codes.device).manual_seed(drawn)
    for _ in range(EPOCHS):
        order = torch.randperm(len(codes), generator=generator).to(codes.device)
        for index in order.split(BATCH_ROWS):
            with torch.enable_grad(), quick_products(codes):
                hidden = activation(first(codes[index]))
                kept = torch.empty_like(hidden).bernoulli_(1 - dropout, generator=noise)
                error = last(hidden * kept / (1 - dropout)) - missed[index]
                loss = (weights[index] * error.square()).mean()
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        yield
