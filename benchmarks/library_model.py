"""The same model around `ResidualVQ` of vector-quantize-pytorch, one per category.

All that the library does not give is generous to it: the loss terms are our batched ones, and
partial decoders read their own category's features only.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.naive_model import CategoryEncoder, Decoder
from spinlock.tokenizer.network.layout import EmbeddingDims
from spinlock.tokenizer.network.losses import orthogonality_loss, topographic_loss
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.training.objective import LossWeights

try:
    from vector_quantize_pytorch import ResidualVQ
except ImportError:
    ResidualVQ = None

AVAILABLE = ResidualVQ is not None


class LibraryModel(nn.Module):
    """The whole model; `forward` gives the loss terms of a batch."""

    def __init__(self, shape: ModelShape, weights: LossWeights):
        super().__init__()
        self.weights = weights
        self.encoders = nn.ModuleList(CategoryEncoder(m, shape) for m in shape.partition)
        self.decoder = Decoder(list(self.encoders), shape)
        self.width = shape.width
        self.quantizers = nn.ModuleList(
            ResidualVQ(
                dim=encoder.dim,
                codebook_size=tuple(sizes),
                decay=shape.decay,
                commitment_weight=weights.commitment_cost,
                kmeans_init=True,
            )
            for encoder, sizes in zip(self.encoders, shape.book_sizes, strict=True)
        )
        self.partial = nn.ModuleList(
            nn.ModuleList(nn.Linear(encoder.dim, len(encoder.members)) for _ in sizes)
            for encoder, sizes in zip(self.encoders, shape.book_sizes, strict=True)
        )
        self.dims = EmbeddingDims([encoder.dim for encoder in self.encoders], shape.width)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return rows [B, D] decoded from the codes of rows x."""
        pairs = zip(self.encoders, self.quantizers, strict=True)
        return self.decoder([quantize(encoder(x))[0] for encoder, quantize in pairs])

    def forward(self, clean: Tensor, noisy: Tensor) -> dict[str, Tensor]:
        """Return the loss terms of a batch [B, D]."""
        z, codes, commitment, partial = [], [], [], []
        parts = zip(self.encoders, self.quantizers, self.partial, strict=True)
        for encoder, quantize, decoders in parts:
            one = encoder(noisy)
            code, _, loss, by_level = quantize(one, return_all_codes=True)
            target = clean[:, encoder.members]
            for prefix, decode in zip(by_level.cumsum(dim=0), decoders, strict=True):
                through = one + (prefix - one).detach()
                partial.append(functional.mse_loss(decode(through), target))
            z.append(one)
            codes.append(code)
            commitment.append(loss.mean())
        padded = self._padded(codes)
        return {
            "reconstruction": functional.mse_loss(self.decoder(codes), clean),
            "vq": torch.stack(commitment).mean(),
            "orthogonality": orthogonality_loss(self._padded(z), padded, self.dims),
            "informativeness": torch.stack(partial).mean(),
            "topographic": topographic_loss(
                clean[: self.weights.topo_samples],
                torch.cat(codes, dim=1)[: self.weights.topo_samples],
            ),
        }

    def _padded(self, parts: list[Tensor]) -> Tensor:
        return torch.stack([functional.pad(p, (0, self.width - p.shape[1])) for p in parts])
