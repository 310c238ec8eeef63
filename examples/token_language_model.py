"""A small causal transformer over the tokens of operators, in under a minute on two cores.

python examples/token_language_model.py results/arch_summary/tokens.h5

Prints the bits per token on test operators, beside those of independent tokens: the entropy of each
position on train operators, measured on the same test operators. The difference is what the
categories and levels of one operator tell about each other.
"""

import argparse
import copy
import math
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

TRAIN, VALIDATION, TEST = 0, 1, 2
BEGIN = 1  # the special token <bos>
BATCH = 64


class TokenModel(nn.Module):
    """Embedding, position and a causal transformer; each position sees those before it.

    It starts from the frequencies of the words, so training only adds what context tells.

    Parameters
    ----------
    sizes : int array [S]
        Number of codes that each position may take.
    offsets : int array [S]
        First word of each position in the flat vocabulary.
    frequencies : array [words]
        How often each word of the flat vocabulary was seen, at least a little.
    """

    def __init__(
        self, sizes: np.ndarray, offsets: np.ndarray, frequencies: np.ndarray, width: int = 64
    ):
        super().__init__()
        self.words = nn.Embedding(len(frequencies), width)
        nn.init.normal_(self.words.weight, std=0.02)
        self.position = nn.Parameter(torch.zeros(len(sizes), width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.3, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.bias = nn.Parameter(torch.as_tensor(np.log(frequencies), dtype=torch.float32))
        # a position takes words of its own book: logits of the others are not computed
        code = torch.arange(int(sizes.max()))
        exists = code < torch.as_tensor(sizes)[:, None]
        self.register_buffer("exists", exists)
        self.register_buffer("book", torch.as_tensor(offsets)[:, None] + code * exists)

    def forward(self, words: Tensor) -> Tensor:
        """Return the logits [B, S, K] of every position's own codes, given words [B, S]."""
        begin = torch.full_like(words[:, :1], BEGIN)
        seen = self.words(torch.cat([begin, words[:, :-1]], dim=1)) + self.position
        mask = nn.Transformer.generate_square_subsequent_mask(words.shape[1])
        hidden = self.layers(seen, mask=mask, is_causal=True)
        logits = torch.einsum("bsw,skw->bsk", hidden, self.words(self.book)) + self.bias[self.book]
        return logits.masked_fill(~self.exists, -math.inf)

    def loss(self, words: Tensor) -> Tensor:
        """Return the mean surprise of words [B, S], in nats."""
        code = words - self.book[:, 0]
        return nn.functional.cross_entropy(self(words).flatten(0, 1), code.flatten())


def bits_per_token(model: TokenModel, words: Tensor) -> float:
    """Return the mean surprise of words [N, S] in bits."""
    model.eval()
    with torch.no_grad():
        total = sum(float(model.loss(block)) * block.numel() for block in words.split(256))
    return total / words.numel() / math.log(2)


def unigram_bits(
    frequencies: np.ndarray, words: np.ndarray, offsets: np.ndarray, sizes: np.ndarray
) -> float:
    """Return the bits per token of words [N, S] whose positions are taken as independent."""
    books = [frequencies[first : first + size] for first, size in zip(offsets, sizes, strict=True)]
    share = np.concatenate([np.zeros(offsets[0]), *[book / book.sum() for book in books]])
    return float(-np.log2(share[words]).mean())


def main() -> None:
    """Train on the train operators, and compare on the test operators."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
    arguments = parser.parse_args()
    if not arguments.tokens.is_file():
        parser.error(f"{arguments.tokens} is not there; `make all` makes it")
    if not h5py.is_hdf5(arguments.tokens):
        parser.error(f"{arguments.tokens} is no HDF5 file; give tokens.h5")
    if arguments.epochs < 1:
        parser.error("--epochs is at least 1")
    epochs = 1 if arguments.quick else arguments.epochs
    torch.manual_seed(0)
    with h5py.File(arguments.tokens, "r") as file:
        tokens = file["tokens"][:].astype(np.int64)
        split, offsets = file["split"][:], file["vocabulary/offsets"][:].ravel()
        n_words = int(file.attrs["vocabulary_size"])
    if not set(split) >= {TRAIN, VALIDATION, TEST}:
        parser.error(
            f"{arguments.tokens} does not tell train, validation and test rows; give the tokens.h5 "
            "that `make all` makes: `spinlock encode` knows no split"
        )
    words = tokens.reshape(len(tokens), -1) + offsets
    sizes = np.diff(np.append(offsets, n_words))
    frequencies = np.bincount(words[split == TRAIN].ravel(), minlength=n_words) + 0.5
    train, validation, test = (
        torch.from_numpy(words[split == side]) for side in (TRAIN, VALIDATION, TEST)
    )
    model = TokenModel(sizes, offsets, frequencies)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, total_steps=epochs * math.ceil(len(train) / BATCH)
    )
    lowest, best = bits_per_token(model, validation), copy.deepcopy(model.state_dict())
    for epoch in range(epochs):
        model.train()
        for block in train[torch.randperm(len(train))].split(BATCH):
            optimizer.zero_grad()
            model.loss(block).backward()
            optimizer.step()
            schedule.step()
        reached = bits_per_token(model, validation)
        print(f"epoch {epoch + 1}: {reached:.3f} bits per token on validation rows", flush=True)
        if reached < lowest:
            lowest, best = reached, copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    nominal = float(np.log2(sizes).mean())
    independent = unigram_bits(frequencies, test.numpy(), offsets, sizes)
    print(f"nominal {nominal:.3f}, unigram {independent:.3f}, ", end="")
    print(f"transformer {bits_per_token(model, test):.3f} bits per token, on {len(test)} operators")


if __name__ == "__main__":
    main()
