"""Checkpoints: one file with all that a model needs, loadable without running any code."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spinlock.errors import SpinlockError
from spinlock.features.table import TableHeader
from spinlock.tokenizer.categories.mapping import NAME
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.normalization.statistics import FeatureStatistics, read_only
from spinlock.tokenizer.state_file import (
    inconsistency_told,
    read_state,
    read_with_digest,
    write_state,
)

KIND = "spinlock-model-"
FORMAT = f"{KIND}3"
PLAIN = {"config": dict, "history": list, "val_loss": float, "metrics": dict, "provenance": dict}
PROJECTOR = re.compile(r"quantizer\.projector_\d+")


@dataclass
class Checkpoint:
    """What `best_model.pt` and `checkpoint_epoch_*.pt` hold.

    Attributes
    ----------
    model : TokenizerModel
    header : TableHeader
        The columns of the table that the model reads.
    statistics : FeatureStatistics
    categories : dict
        Name → kept columns.
    config : dict
        Resolved settings.
    history : list of dict
        Of the training: its start, its epochs, and the steps after them.
    val_loss : float
        The lowest validation loss so far.
    metrics : dict
        Final metrics on validation rows.
    optimizer_state : dict
    training_state : dict
        What else a training needs to go on from here.
    provenance : dict
        Digests and versions.
    digest : str
        SHA-256 of the file that was read, or that an export was made from; not an entry of it.
    """

    model: TokenizerModel
    header: TableHeader
    statistics: FeatureStatistics
    categories: dict[str, np.ndarray]
    config: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    val_loss: float = float("nan")
    metrics: dict[str, Any] = field(default_factory=dict)
    optimizer_state: dict[str, Any] = field(default_factory=dict)
    training_state: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    @property
    def kept_names(self) -> list[str]:
        """Full names of the kept columns."""
        return [self.header.columns[i].full_name for i in self.statistics.kept]

    def save(self, path: str | Path) -> None:
        """Write the checkpoint atomically."""
        normalization = {
            name: {
                "mean": torch.tensor(entry["mean"]),
                "std": torch.tensor(entry["std"]),
            }
            for name, entry in self.category_normalization().items()
        }
        resumable = {
            "optimizer_state_dict": self.optimizer_state,
            "normalization_stats": normalization,
            "training_state": self.training_state,
        }
        write_state(path, self.plain_entries() | self.tensor_entries() | resumable)

    def plain_entries(self) -> dict[str, Any]:
        """Return the entries of a file that JSON can hold."""
        return {
            "format": FORMAT,
            "group_indices": {name: m.tolist() for name, m in self.categories.items()},
            "feature_names": self.kept_names,
            "config": self.config,
            "history": self.history,
            "val_loss": self.val_loss,
            "metrics": self.metrics,
            "model_shape": asdict(self.model.shape),
            "table_header": self.header.to_json(),
            "provenance": self.provenance,
        }

    def tensor_entries(self) -> dict[str, dict[str, Tensor]]:
        """Return the entries of a file that are tensors by name."""
        return {
            "model_state_dict": self.model.state_dict(),
            "feature_statistics": {
                name: torch.tensor(array)  # a copy: statistics cannot be written to
                for name, array in self.statistics.arrays().items()
            },
        }

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> "Checkpoint":
        """Read a checkpoint.

        Raises
        ------
        SpinlockError
            When the file is no checkpoint of this version, or parts of it are missing.
        """
        entries, digest = read_with_digest(path, device)
        return cls.of_entries(entries | {"model_digest": digest}, path, device)

    @classmethod
    def of_entries(
        cls, entries: Mapping[str, Any], path: str | Path, device: str | torch.device = "cpu"
    ) -> "Checkpoint":
        """Return the checkpoint that the entries of a file describe; see `load`."""
        if entries.get("format") != FORMAT:
            raise SpinlockError(
                f"this is not a model of this version of spinlock (format "
                f"{entries.get('format')!r}, expected {FORMAT!r})",
                where=path,
                remedy="train it again, or use the version of spinlock that wrote it",
            )
        with inconsistency_told(path, "the model file", "train it again", MemoryError):
            _require_plain(entries)
            arrays = {k: v.cpu().numpy() for k, v in entries["feature_statistics"].items()}
            statistics = FeatureStatistics.from_arrays(arrays)
            header = TableHeader.from_json(entries["table_header"])
            statistics.require_consistent(len(header.columns))
            shape = ModelShape(**entries["model_shape"])
            shape.require_consistent(len(statistics.kept))
            categories = entries["group_indices"]
            _require_categories(categories, shape.partition)
            _require_same_shapes(shape, entries["model_state_dict"])
            model = TokenizerModel(shape).float()  # whatever torch's default type is
            model.load_weights(entries["model_state_dict"])
            checkpoint = cls(
                model=model.to(device).eval(),
                header=header,
                statistics=statistics,
                categories={k: read_only(np.array(v)) for k, v in categories.items()},
                config=entries["config"],
                history=entries["history"],
                val_loss=entries["val_loss"],
                metrics=entries["metrics"],
                optimizer_state=entries["optimizer_state_dict"],
                training_state=entries["training_state"],
                provenance=entries["provenance"],
                digest=str(entries["model_digest"]),
            )
        checkpoint._require_finite(path)
        return checkpoint

    def category_normalization(self) -> dict[str, dict[str, np.ndarray]]:
        """Return names, centre and scale of the columns of each category, in raw units.

        Those of columns with tails are of the values whose tails are logarithms.
        """
        names, kept = np.array(self.kept_names), self.statistics.kept
        return {
            category: {
                "features": names[members],
                "mean": self.statistics.center[kept[members]],
                "std": self.statistics.scale[kept[members]],
            }
            for category, members in self.categories.items()
        }

    def _require_finite(self, path: str | Path) -> None:
        name = self.model.not_finite()
        if name is not None:
            raise SpinlockError(
                f"the model has weights that are not numbers ({name})",
                where=path,
                remedy="train it again",
            )


def is_checkpoint(path: Path) -> bool:
    """Return whether a file is a model or a checkpoint, of any version."""
    try:
        return str(read_state(path).get("format")).startswith(KIND)
    except SpinlockError:
        return False


def _require_plain(entries: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError unless the entries that are read as they stand are plain."""
    for name, kind in PLAIN.items():
        if not isinstance(entries[name], kind):
            raise TypeError(f"{name} is a {type(entries[name]).__name__}")
        json.dumps(entries[name])  # an export writes them so


def _require_categories(categories: Mapping[str, Any], partition: list[list[int]]) -> None:
    """Raise ValueError unless categories have names, and the columns of a model's partition."""
    for name in categories:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a category")
    if list(categories.values()) != partition:
        raise ValueError("the categories are not those of the model")


def _require_same_shapes(shape: ModelShape, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless a model of this shape has these weights, before memory is taken."""
    if weights["quantizer.all_codes"].shape[1] != sum(
        map(max, zip(*shape.book_sizes, strict=True))
    ):
        raise ValueError("the codes do not fit the sizes of the books")
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in TokenizerModel(shape).state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    projector = (len(shape.partition), shape.width, shape.width)
    for name in wanted | found:
        # projectors are there for levels that are restricted to subspaces
        restricted = PROJECTOR.fullmatch(name) and found.get(name) == projector
        if wanted.get(name) != found.get(name) and not restricted:
            raise ValueError(f"{name} does not fit the shape of the model")
