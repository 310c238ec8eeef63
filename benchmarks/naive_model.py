"""The Categorical Hierarchical VQ-VAE as it is usually written: the reference to beat.

One module per category and per level, every loss term in loops over them, one-hot encodings,
partial decoders onto all features, the topographic loss from a distance matrix per book. Layers,
their sizes, the five loss terms and their weights are ours.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinlock.tokenizer.network.model import NETWORK_WIDTH
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.training.objective import LossWeights

BOOK_ROWS = 64  # rows whose codes are compared within a book
EPSILON = 1e-5
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


class FamilyNetwork(nn.Module):
    """A perceptron that reads the columns of one family in one category."""

    def __init__(self, columns: Sequence[int], params: Mapping[str, Any], hidden_dim: int):
        super().__init__()
        self.columns = list(columns)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([len(columns), *params["hidden_dims"]]):
            layers.append(nn.Linear(n_in, n_out))
            if params["batch_norm"]:
                layers.append(nn.BatchNorm1d(n_out))
            layers += [ACTIVATIONS[params["activation"]](), nn.Dropout(params["dropout"])]
        layers.append(nn.Linear(params["hidden_dims"][-1], params["output_dim"]))
        layers.append(nn.Linear(params["output_dim"], hidden_dim))
        self.network = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, hidden_dim] of rows x [B, D]."""
        return self.network(x[:, self.columns])


class CategoryEncoder(nn.Module):
    """The embedding of one category: a linear path and the networks of its families."""

    def __init__(self, members: Sequence[int], shape: ModelShape):
        super().__init__()
        self.members = list(members)
        self.dim = min(shape.width, len(members))
        self.linear = nn.Linear(len(members), self.dim)
        columns = {
            family: [i for i in members if shape.column_family[i] == family]
            for family in shape.encoders
        }
        self.networks = nn.ModuleDict(
            {
                family: FamilyNetwork(columns[family], choice["encoder_params"], shape.hidden_dim)
                for family, choice in shape.encoders.items()
                if columns[family]
            }
        )
        self.dropout = nn.Dropout(shape.dropout)
        self.head = nn.Linear(shape.hidden_dim, self.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings [B, E] of rows x [B, D]."""
        hidden = torch.stack([network(x) for network in self.networks.values()]).sum(dim=0)
        hidden = self.dropout(functional.gelu(hidden))
        return self.linear(x[:, self.members]) + self.head(hidden)


class Decoder(nn.Module):
    """Each category's columns from its own codes, corrected by all categories' codes."""

    def __init__(self, encoders: Sequence[CategoryEncoder], shape: ModelShape):
        super().__init__()
        n_columns = len(shape.column_family)
        self.n_columns = n_columns
        self.members = [encoder.members for encoder in encoders]
        self.own = nn.ModuleList(nn.Linear(e.dim, len(e.members)) for e in encoders)
        self.cross = nn.Linear(n_columns, n_columns)
        hidden_dim = NETWORK_WIDTH * shape.hidden_dim
        self.network = nn.Sequential(
            nn.Linear(sum(encoder.dim for encoder in encoders), hidden_dim),
            nn.GELU(),
            nn.Dropout(shape.dropout),
            nn.Linear(hidden_dim, n_columns),
        )

    def forward(self, codes: Sequence[Tensor]) -> Tensor:
        """Return rows [B, D] of the code sums [C] of [B, E_c]."""
        own = codes[0].new_zeros(len(codes[0]), self.n_columns)
        for members, decode, code in zip(self.members, self.own, codes, strict=True):
            own[:, members] = decode(code)
        return own + self.cross(own) + self.network(torch.cat(list(codes), dim=1))


class Codebook(nn.Module):
    """One book with moving averages (van den Oord et al. 2017, appendix A.1)."""

    codes: Tensor
    cluster_size: Tensor
    cluster_sum: Tensor

    def __init__(self, n_codes: int, dim: int, decay: float):
        super().__init__()
        self.decay = decay
        codes = torch.randn(n_codes, dim)
        self.register_buffer("codes", codes)
        self.register_buffer("cluster_size", torch.ones(n_codes))
        self.register_buffer("cluster_sum", codes.clone())

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes [B, E] that rows z [B, E] take, and their one-hot encodings [B, K]."""
        distances = (
            (z**2).sum(dim=1, keepdim=True)
            + (self.codes**2).sum(dim=1)
            - 2 * torch.matmul(z, self.codes.t())
        )
        indices = torch.argmin(distances, dim=1).unsqueeze(1)
        encodings = torch.zeros(len(z), len(self.codes), device=z.device)
        encodings.scatter_(1, indices, 1)
        quantized = torch.matmul(encodings, self.codes)
        if self.training:
            self._update(z.detach(), encodings)
        return quantized, encodings

    @torch.no_grad()
    def _update(self, z: Tensor, encodings: Tensor) -> None:
        self.cluster_size = self.cluster_size * self.decay + (1 - self.decay) * encodings.sum(0)
        n = self.cluster_size.sum()
        size = (self.cluster_size + EPSILON) / (n + len(self.codes) * EPSILON) * n
        moved = torch.matmul(encodings.t(), z)
        self.cluster_sum = self.cluster_sum * self.decay + (1 - self.decay) * moved
        self.codes = self.cluster_sum / size.unsqueeze(1)


class NaiveModel(nn.Module):
    """The whole model; `forward` gives the weighted loss of a batch, term by term."""

    def __init__(self, shape: ModelShape, weights: LossWeights):
        super().__init__()
        self.weights = weights
        self.encoders = nn.ModuleList(CategoryEncoder(m, shape) for m in shape.partition)
        self.decoder = Decoder(list(self.encoders), shape)
        self.books = nn.ModuleList(
            nn.ModuleList(Codebook(n_codes, encoder.dim, shape.decay) for n_codes in sizes)
            for encoder, sizes in zip(self.encoders, shape.book_sizes, strict=True)
        )
        n_columns = len(shape.column_family)
        self.partial = nn.ModuleList(
            nn.ModuleList(nn.Linear(encoder.dim, n_columns) for _ in sizes)
            for encoder, sizes in zip(self.encoders, shape.book_sizes, strict=True)
        )

    def quantize(self, category: int, z: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return code sums by level, encodings by level, and the commitment loss."""
        total, prefixes, encodings = torch.zeros_like(z), [], []
        commitment = z.new_zeros(())
        for book in self.books[category]:
            residual = z - total
            quantized, one_hot = book(residual)
            commitment = commitment + functional.mse_loss(residual, quantized.detach())
            total = total + quantized.detach()
            prefixes.append(z + (total - z).detach())
            encodings.append(one_hot)
        return prefixes, encodings, commitment

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return rows [B, D] decoded from the codes of rows x."""
        codes = [self.quantize(c, encoder(x))[0][-1] for c, encoder in enumerate(self.encoders)]
        return self.decoder(codes)

    def encodings(self, x: Tensor) -> list[list[Tensor]]:
        """Return one-hot encodings by category and level."""
        return [self.quantize(c, encoder(x))[1] for c, encoder in enumerate(self.encoders)]

    def code_vectors(self, x: Tensor) -> Tensor:
        """Return the codes of all categories side by side [B, ΣE]."""
        codes = [self.quantize(c, encoder(x))[0][-1] for c, encoder in enumerate(self.encoders)]
        return torch.cat(codes, dim=1)

    def forward(self, clean: Tensor, noisy: Tensor) -> dict[str, Tensor]:
        """Return the loss terms of a batch [B, D]."""
        z = [encoder(noisy) for encoder in self.encoders]
        quantized = [self.quantize(c, one) for c, one in enumerate(z)]
        codes = [prefixes[-1] for prefixes, _, _ in quantized]
        commitment = torch.stack([one for _, _, one in quantized]).mean()
        partial = [
            functional.mse_loss(decode(prefix), clean)
            for (prefixes, _, _), decoders in zip(quantized, self.partial, strict=True)
            for prefix, decode in zip(prefixes, decoders, strict=True)
        ]
        return {
            "reconstruction": functional.mse_loss(self.decoder(codes), clean),
            "vq": self.weights.commitment_cost * commitment,
            "orthogonality": orthogonality(z, codes),
            "informativeness": torch.stack(partial).mean(),
            "topographic": topographic(
                clean,
                [prefix for prefixes, _, _ in quantized for prefix in prefixes],
                self.weights.topo_samples,
            ),
        }


def orthogonality(z: Sequence[Tensor], codes: Sequence[Tensor]) -> Tensor:
    """Return the dependence between categories, pair by pair, plus that within books."""
    between = [correlation_matrix(a, b).square().mean() for a, b in combinations(z, 2)]
    within = []
    for one in codes:
        rows = functional.normalize(one[:BOOK_ROWS], dim=1)
        differ = torch.cdist(one[:BOOK_ROWS], one[:BOOK_ROWS]).detach() > 1e-6
        within.append((rows @ rows.t()).square()[differ].mean() if differ.any() else one.sum() * 0)
    return torch.stack(between).mean() + torch.stack(within).mean()


def correlation_matrix(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlations [E_a, E_b] of the dimensions of two embeddings."""
    a = functional.normalize(a - a.mean(dim=0), dim=0)
    b = functional.normalize(b - b.mean(dim=0), dim=0)
    return a.t() @ b


def topographic(x: Tensor, codes: Sequence[Tensor], n_rows: int) -> Tensor:
    """Return 1 − the correlation of input and code distances over pairs of rows, mean of books."""
    losses = []
    for one in codes:
        pairs = torch.triu(torch.ones(len(x[:n_rows]), len(x[:n_rows])), diagonal=1).bool()
        between_inputs = torch.cdist(x[:n_rows], x[:n_rows])[pairs]
        between_codes = torch.cdist(one[:n_rows], one[:n_rows])[pairs]
        losses.append(1 - torch.corrcoef(torch.stack([between_inputs, between_codes]))[0, 1])
    return torch.stack(losses).mean()
