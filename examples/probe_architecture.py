"""What does behaviour tell about structure? Predict ARCHITECTURE from behaviour tokens.

python examples/probe_architecture.py datasets/baseline_10k/shard_*.h5

Only categories without a single ARCHITECTURE feature are used, so nothing of the answer is in the
question. Prints the test R² of each architecture feature from the tokens, and from the SUMMARY
features themselves.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

import spinlock
from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset

TRAIN, TEST = 0, 2


def ridge_r2(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the test R² of each column of y, predicted from x by ridge regression."""
    scaler = StandardScaler().fit(x[train])
    model = RidgeCV(np.logspace(0, 4, 9)).fit(scaler.transform(x[train]), y[train])
    error = (y[test] - model.predict(scaler.transform(x[test]))) ** 2
    return 1 - error.sum(axis=0) / ((y[test] - y[train].mean(axis=0)) ** 2).sum(axis=0)


def main() -> None:
    """Compare the probes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="+", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results/arch_summary"))
    arguments = parser.parse_args()
    model, made = arguments.results / "best_model.pt", arguments.results / "tokens.h5"
    for path in (model, made, *arguments.dataset):
        if not path.is_file():
            parser.error(f"{path} is not there; `make all` makes what the default experiment has")
    tokenizer = spinlock.Tokenizer.load(model)
    with h5py.File(made, "r") as file:
        used = file["split"][:] >= 0
        tokens, split = file["tokens"][:][used].astype(np.int64), file["split"][:][used]
        rows = file["row_ids"][:][used]
    behaviour = [
        c
        for c, members in enumerate(tokenizer.categories.values())
        if all(not tokenizer.kept_names[i].startswith("architecture/") for i in members)
    ]
    if not behaviour:
        parser.error(f"{model} has no category of behaviour alone: nothing to predict from")
    if not {TRAIN, TEST} <= set(split):
        parser.error(f"{made} does not tell train and test rows; make it by `make all`")
    try:
        with open_dataset(arguments.dataset) as source:
            source.require(["architecture", "summary"])
            structure = source.read("architecture", rows).astype(np.float64)
            names = source.families["architecture"].column_names
            summary = np.nan_to_num(source.read("summary", rows).astype(np.float64))
    except SpinlockError as error:
        parser.error(str(error))
    codes = tokenizer.embed(tokens)[:, behaviour].reshape(len(tokens), -1)
    train, test = np.flatnonzero(split == TRAIN), np.flatnonzero(split == TEST)
    from_tokens = ridge_r2(codes, structure, train, test)
    from_features = ridge_r2(summary, structure, train, test)
    print(f"{len(behaviour)} of {len(tokenizer.categories)} categories hold behaviour alone")
    print(f"{'architecture feature':24} {'tokens':>8} {'features':>9}")
    for i in np.argsort(-from_tokens):
        print(f"{names[i]:24} {from_tokens[i]:8.3f} {from_features[i]:9.3f}")


if __name__ == "__main__":
    main()
