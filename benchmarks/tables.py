"""The tables that quality is measured on: simulated and foreign operators, real measurements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from sklearn import datasets
from sklearn.feature_extraction.image import extract_patches_2d

from benchmarks.data import generated_shards
from spinlock.errors import SpinlockError
from spinlock.features.dataset import OperatorDataset, open_dataset
from spinlock.features.split import TEST, random_split

FOREIGN_FILE = Path("tests/data/foreign_excerpt.h5")
SIDES = "metadata/side"  # where a table's own split stands in its file
VALIDATION_SHARE = 0.1
OPERATORS = 4000
SIMULATED = ("architecture", "summary")
SHARDS = {  # of the baselines that hold so many operators, for a shell that expands braces
    10_000: "datasets/baseline_10k/shard_000{00..19}.h5",
    40_000: "datasets/baseline_100k/shard_000{00..39}.h5",
    100_000: "datasets/baseline_100k/shard_000{00..99}.h5",
}
PATCHES = 1000  # of each photograph
PATCH_SIDE = 8


@dataclass(frozen=True)
class RawTable:
    """Rows as they were found, by family; `sides` [n] where the table brings its split."""

    families: dict[str, np.ndarray]
    sides: np.ndarray | None = None

    def write(self, path: Path) -> None:
        """Write the table in the layout that experiments read."""
        with h5py.File(path, "w") as file:
            for name, values in self.families.items():
                file[f"features/{name}/aggregated/features"] = values
            if self.sides is not None:
                file[SIDES] = self.sides.astype(np.int8)


def operators(paths: list[Path], wanted: tuple[str, ...], most: int = OPERATORS) -> RawTable:
    """Return families of operators, split at random."""
    with open_dataset(paths) as source:
        return RawTable(_read(source, wanted, most))


def simulated_operators(number: int) -> RawTable:
    """Return so many simulated operators.

    Raises
    ------
    SpinlockError
        When fewer are at hand: they would stand under a name that says more.
    """
    with open_dataset(generated_shards()) as source:
        if source.n_operators < number:
            shards = next(files for size, files in SHARDS.items() if size >= number)
            raise SpinlockError(
                f"{source.n_operators} simulated operators are at hand, {number} are wanted",
                remedy=f"snakemake --cores all {shards} simulates them",
            )
        return RawTable(_read(source, SIMULATED, number))


def one_kind_held_out(label: str, seed: int) -> RawTable:
    """Return simulated operators; one kind (another for each seed) is the test, whole."""
    with open_dataset(generated_shards()) as source:
        families = _read(source, SIMULATED, OPERATORS)
        n_rows = len(families["summary"])
        kinds = source.labels(label, np.arange(n_rows))
    names = np.unique(kinds)
    sides = random_split(n_rows, VALIDATION_SHARE, 0.0, seed)
    sides[kinds == names[seed % len(names)]] = TEST
    return RawTable(families, sides)


def photographs(seed: int) -> RawTable:
    """Return patches of scikit-learn's two photographs: the colours of 8 × 8 pixels."""
    images = datasets.load_sample_images().images
    size = (PATCH_SIDE, PATCH_SIDE)
    parts = [
        extract_patches_2d(one, size, max_patches=PATCHES, random_state=seed) for one in images
    ]
    return RawTable(
        {"pixels": np.concatenate(parts).reshape(len(parts) * PATCHES, -1).astype(float)}
    )


def messy(table: RawTable, seed: int) -> RawTable:
    """Return a table with what real files bring: gaps, infinities, huge values, dead columns."""
    rng = np.random.default_rng(seed)
    (name, clean), *_ = table.families.items()
    x = clean.astype(np.float64).copy()
    n_rows, n_columns = x.shape
    huge = np.arange(0, n_columns, 5)
    x[:, huge] *= 10.0 ** rng.integers(13, 17, len(huge))
    x[rng.random(x.shape) < 0.03] = np.nan
    x[rng.random(x.shape) < 0.002] = np.inf
    x[rng.random(x.shape) < 0.002] *= -1e6  # outliers
    mostly_missing = np.where(rng.random((n_rows, 1)) < 0.64, np.nan, 1.0)
    constant = np.full((n_rows, 1), 3.0)
    noisy_constant = 1e5 * (1 + 1e-16 * rng.standard_normal((n_rows, 1)))
    extra = [mostly_missing, constant, noisy_constant, x[:, :2], -2 * x[:, :1] + 1]
    return RawTable({name: np.hstack([x, *extra])})


def measurements(load: Callable[..., object]) -> RawTable:
    """Return one of scikit-learn's tables."""
    return RawTable({"measurements": load(return_X_y=True)[0]})  # type: ignore[index]


def shared_factors(seed: int) -> RawTable:
    """Return columns that all depend on the same few factors: no category has any of its own."""
    x = datasets.make_low_rank_matrix(
        1500, 200, effective_rank=15, tail_strength=0.1, random_state=seed
    )
    return RawTable({"measurements": x})


def blobs(seed: int) -> RawTable:
    """Return rows of thirty clusters, which one codebook of all columns tells best."""
    x, _ = datasets.make_blobs(1500, 60, centers=30, cluster_std=3.0, random_state=seed)
    return RawTable({"measurements": x})


def counts(seed: int) -> RawTable:
    """Return low counts (Poisson) of sixty kinds of events, ten to a factor."""
    rng = np.random.default_rng(seed)
    factors = np.repeat(rng.standard_normal((1500, 6)), 10, axis=1)
    loads, rarity = rng.uniform(0.5, 1, 60), rng.normal(-1, 0.5, 60)
    return RawTable({"measurements": rng.poisson(np.exp(0.9 * factors * loads + rarity))})


def mixed_kinds(seed: int) -> RawTable:
    """Return lognormal columns, counts, a class as yes and no, and curves of a factor each."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((1500, 5, 1))
    size, rate, kind, bend, phase = factors.transpose(1, 0, 2)
    families = [
        np.exp(1.2 * size + 0.4 * rng.standard_normal((1500, 8))),
        rng.poisson(np.exp(0.7 * rate + np.linspace(-1, 1, 10))),
        np.eye(6)[np.digitize(kind[:, 0], [-1, -0.5, 0, 0.5, 1])],
        bend**2 + 0.3 * rng.standard_normal((1500, 8)),
        np.sin(2 * phase + np.linspace(0, 3, 8)) + 0.2 * rng.standard_normal((1500, 8)),
    ]
    return RawTable({"measurements": np.hstack(families)})


def known_tables(foreign: Path) -> Mapping[str, Callable[[int], RawTable]]:
    """Return name → function of the seed that gives the table."""
    return {
        "operators, random rows": lambda _: operators(generated_shards(), SIMULATED),
        "operators, unseen policy": lambda s: one_kind_held_out("metadata/evolution_policy", s),
        "operators, unseen initial kind": lambda s: one_kind_held_out(
            "metadata/initial_condition", s
        ),
        "operators, 100000": lambda _: simulated_operators(100_000),
        "operators, 40000": lambda _: simulated_operators(40_000),
        "operators, 10000": lambda _: simulated_operators(10_000),
        "operators, 1000": lambda _: simulated_operators(1000),
        "foreign operators": lambda _: operators([foreign], ("architecture", "initial", "summary")),
        "photographs": photographs,
        "digits": lambda _: measurements(datasets.load_digits),
        "breast cancer": lambda _: measurements(datasets.load_breast_cancer),
        "wine": lambda _: measurements(datasets.load_wine),
        "diabetes": lambda _: measurements(datasets.load_diabetes),
        "shared factors": shared_factors,
        "blobs": blobs,
        "counts": counts,
        "mixed kinds": mixed_kinds,
        "digits, messy": lambda s: messy(measurements(datasets.load_digits), s),
        "breast cancer, messy": lambda s: messy(measurements(datasets.load_breast_cancer), s),
        "wine, messy": lambda s: messy(measurements(datasets.load_wine), s),
    }


def _read(source: OperatorDataset, wanted: tuple[str, ...], most: int) -> dict[str, np.ndarray]:
    rows = np.arange(min(most, source.n_operators))
    return {name: source.read(name, rows) for name in wanted}
