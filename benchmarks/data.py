"""The rows that benchmarks run on: simulated operators where a dataset is at hand, else made up."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spinlock.features.dataset import open_dataset
from spinlock.features.split import TEST, TRAIN, VALIDATION, random_split
from spinlock.settings.data import FeatureCleaning
from spinlock.tokenizer.categories.clustering import discover_categories
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.normalization.fitting import fit_statistics
from spinlock.tokenizer.normalization.statistics import FeatureStatistics

FAMILIES = {"architecture": 21, "summary": 275}
LATENT = 40  # factors behind made-up features
SEED = 7


@dataclass(frozen=True)
class Table:
    """Normalised rows by side of the split, their families, and what they are.

    Attributes
    ----------
    train, validation, test : Rows
    column_family : list [D] of str
    description : str
    values : float32 array [n, columns]
        The rows before cleaning, of all sides.
    statistics : FeatureStatistics
        The cleaning and normalisation.
    """

    train: Rows
    validation: Rows
    test: Rows
    column_family: list[str]
    description: str
    values: np.ndarray
    statistics: FeatureStatistics

    @property
    def width(self) -> int:
        """Number of raw columns."""
        return self.values.shape[1]

    def categories(self, number: int) -> list[list[int]]:
        """Return the columns of each of `number` categories."""
        found = discover_categories(self.train.x.numpy(), num_categories=number)
        return [members.tolist() for members in found.partition]


def made_up_features(n_rows: int, n_columns: int, seed: int = SEED) -> np.ndarray:
    """Return float32 [n, D]: bounded mixtures of fewer factors, with noise."""
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((LATENT, n_columns), dtype=np.float32) / LATENT**0.5
    factors = generator.standard_normal((n_rows, LATENT), dtype=np.float32)
    noise = generator.standard_normal((n_rows, n_columns), dtype=np.float32)
    return np.tanh(1.5 * factors @ mixing) + np.float32(0.1) * noise


def operator_table(most: int) -> Table:
    """Return ARCHITECTURE and SUMMARY of up to `most` simulated operators, else made-up rows."""
    shards = generated_shards()
    families = [name for name, width in FAMILIES.items() for _ in range(width)]
    if not shards:
        values = made_up_features(most, len(families))
        return table_of(values, families, f"{most} made-up rows")
    with open_dataset(shards) as source:
        rows = np.arange(min(most, source.n_operators))
        values = np.concatenate([source.read(name, rows) for name in FAMILIES], axis=1)
    return table_of(values, families, f"{len(rows)} simulated operators")


def generated_shards() -> list[Path]:
    """Return the shards of the largest dataset under datasets/ that the pipeline simulated."""
    folders = Path("datasets").glob("*/")
    found = [sorted(folder.glob("shard_*.h5")) for folder in folders]
    return max(found, key=len, default=[])


def table_of(values: np.ndarray, families: list[str], description: str) -> Table:
    """Split raw rows [n, D] at random, 80/10/10, and clean and normalise them on train rows."""
    split = random_split(len(values), 0.1, 0.1, SEED)
    train = values[split == TRAIN]
    fitted = fit_statistics(
        lambda columns, rows: train[rows, columns], *train.shape, FeatureCleaning(), "standard"
    )
    sides = {side: Rows(torch.from_numpy(fitted.apply(values[split == side]))) for side in range(3)}
    return Table(
        sides[TRAIN],
        sides[VALIDATION],
        sides[TEST],
        [families[i] for i in fitted.kept],
        f"{description}, {len(fitted.kept)} features",
        values,
        fitted,
    )
