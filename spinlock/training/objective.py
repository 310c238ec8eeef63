"""The training loss of a batch: five weighted terms."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spinlock.tokenizer.network.losses import (
    informativeness_loss,
    orthogonality_loss,
    quantization_loss,
    reconstruction_loss,
    topographic_loss,
)
from spinlock.tokenizer.network.model import Encoded, TokenizerModel
from spinlock.tokenizer.network.processes import whole_batch
from spinlock.tokenizer.network.quantizer import Quantized
from spinlock.tokenizer.network.rows import Rows

TERMS = ("reconstruction", "vq", "orthogonality", "informativeness", "topographic")

ROW_MEANS = (True, True, False, True, False)  # the others compare the rows of a batch


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms, by their names in `TERMS`, and what they need of the settings."""

    reconstruction: float
    vq: float
    orthogonality: float
    informativeness: float
    topographic: float
    commitment_cost: float
    topo_samples: int


class Objective(nn.Module):
    """Loss terms of a batch, as one module so that torch.compile sees the whole step.

    Networks compute in bfloat16 on CUDA, and elsewhere when `bfloat16`.

    Returns
    -------
    terms : Tensor [5]
        Unweighted, in the order of `TERMS`; those of weight zero are not computed and zero.
    quantized : Quantized
    """

    def __init__(self, model: TokenizerModel, weights: LossWeights, *, bfloat16: bool = False):
        super().__init__()
        self.model = model
        self.bfloat16 = bfloat16
        self.weights = weights
        vector = [getattr(weights, name) for name in TERMS]
        device = model.quantizer.all_codes.device
        self.register_buffer("vector", torch.tensor(vector, device=device), persistent=False)

    def forward(
        self, clean: Rows, noisy: Rows, n_rows: int | None = None
    ) -> tuple[Tensor, Quantized]:
        """Encode the noisy rows and compare with the clean ones.

        In several processes the batch has `n_rows`, of which these are this process's part: a
        term that is a mean over rows is its part of that mean, and the gradients of all
        processes add up to those of the whole batch.
        """
        model, weights, x = self.model, self.weights, clean.x
        n_rows = len(x) if n_rows is None else n_rows
        with self._autocast(x):
            encoded = model.encode(noisy)
            codes = encoded.through()
            decoded = model.decoder(codes, model.n_levels - 1)
        quantized, dims = encoded.quantized, model.encoder.dims
        zero = x.new_zeros(())
        terms = [reconstruction_loss(x, decoded.to(x.dtype))]
        terms.append(self._vq(quantized) if weights.vq else zero)
        whole_codes = whole_batch(codes, n_rows, dim=1)
        whole_z = whole_batch(encoded.z.to(x.dtype), n_rows, dim=1)
        terms.append(
            orthogonality_loss(whole_z, whole_codes, dims) if weights.orthogonality else zero
        )
        if weights.informativeness:
            terms.append(self._informativeness(x, encoded))
        else:
            terms.append(zero)
        if weights.topographic:
            rows = slice(0, weights.topo_samples)
            whole_x = whole_batch(x, n_rows, dim=0)
            terms.append(topographic_loss(whole_x[rows], dims.compact(whole_codes[:, rows])))
        else:
            terms.append(zero)
        if len(x) < n_rows:
            share = len(x) / n_rows
            terms = [
                _share(term, share) if mean else term
                for term, mean in zip(terms, ROW_MEANS, strict=True)
            ]
        return torch.stack(terms), quantized

    def _autocast(self, x: Tensor) -> torch.autocast:
        """Let networks compute in bfloat16; codebooks and losses stay in float32."""
        enabled = self.bfloat16 or x.is_cuda
        return torch.autocast(x.device.type, torch.bfloat16, enabled=enabled)

    def weighted(self, terms: Tensor) -> Tensor:
        """Return the sum of the terms times their weights."""
        return terms @ self.vector.to(terms.dtype)

    def _informativeness(self, x: Tensor, encoded: Encoded) -> Tensor:
        model = self.model
        with self._autocast(x):
            return informativeness_loss(
                encoded.z,
                encoded.quantized.prefixes,
                model.layout.gather(x),
                model.partial.weight,
                model.partial.bias,
                model.layout,
            )

    def _vq(self, quantized: Quantized) -> Tensor:
        return quantization_loss(
            quantized.residuals,
            quantized.taken,
            self.model.encoder.dims,
            self.weights.commitment_cost,
            train_codes=not self.model.quantizer.use_ema,
        )


def _share(mean: Tensor, share: float) -> Tensor:
    """Return the part of a mean over rows that this process's own rows are; without any, zero."""
    return mean * share if share else mean.nan_to_num(0.0)
