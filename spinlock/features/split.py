"""Which rows are for training, which for validation and which for the test."""

import numpy as np

from spinlock.errors import SpinlockError, listed

TRAIN, VALIDATION, TEST = 0, 1, 2  # the sides, as files hold them
SPLIT_NAMES = ("train", "validation", "test")
SIDE_OF_NAME = {"val": VALIDATION, "": -1, "-1": -1} | {
    text: side for side, name in enumerate(SPLIT_NAMES) for text in (name, str(side))
}


def random_split(n_rows: int, val_fraction: float, test_fraction: float, seed: int) -> np.ndarray:
    """Return the side [n] of each row, drawn at random; no wanted side is left empty.

    Raises
    ------
    SpinlockError
        When there are too few rows for one on each side.
    """
    n_validation = _part(n_rows, val_fraction)
    n_test = _part(n_rows, test_fraction)
    if n_rows - n_validation - n_test < 2:
        raise SpinlockError(
            f"{n_rows} rows are too few to train on: {n_validation} are to validate, and "
            f"{n_test} to test",
            remedy="give more rows, at least 4, or lower split.val_fraction or test_fraction",
        )
    order = np.random.default_rng(seed).permutation(n_rows)
    split = np.full(n_rows, TRAIN, np.int8)
    split[order[:n_test]] = TEST
    split[order[n_test : n_test + n_validation]] = VALIDATION
    return split


def split_by_group(
    groups: np.ndarray, val_fraction: float, test_fraction: float, seed: int
) -> np.ndarray:
    """Return the side [n] of each row, whole groups to one side.

    Groups come in random order; the test takes those that bring it closer to its share, at
    least one, then the validation does, and the rest trains.

    Raises
    ------
    SpinlockError
        When there are too few groups for the sides that are wanted.
    """
    names, member = np.unique(groups, return_inverse=True)
    wanted = [(TEST, test_fraction), (VALIDATION, val_fraction)]
    wanted = [(side, fraction) for side, fraction in wanted if fraction > 0]
    if len(names) < len(wanted) + 1:
        raise SpinlockError(
            f"split.group_by names {len(names)} groups, too few for "
            f"{len(wanted) + 1} sides of the split",
            remedy="group by a finer label, or set val_fraction or test_fraction to 0",
        )
    sizes = np.bincount(member)
    order = np.random.default_rng(seed).permutation(len(names))
    split = np.full(len(groups), TRAIN, np.int8)
    for position, (side, fraction) in enumerate(wanted):
        kept_back = len(wanted) - position  # a group for each side that follows, and to train on
        chosen = _closest_groups(order, sizes, fraction * len(groups), len(order) - kept_back)
        split[np.isin(member, chosen)] = side
        order = order[~np.isin(order, chosen)]
    if np.count_nonzero(split == TRAIN) < 2:
        raise SpinlockError(
            "split.group_by leaves one row to train on",
            remedy="group by a finer label, or lower split.val_fraction or test_fraction",
        )
    return split


def _closest_groups(order: np.ndarray, sizes: np.ndarray, share: float, most: int) -> list[int]:
    """Return groups, `most` at most, that have about `share` rows together, or else the smallest.

    One that overshoots by more than it fills is passed over: taken because it came first, a
    group that has most of the rows would leave few to train on.
    """
    chosen: list[int] = []
    missing = share
    for group in order.tolist():
        if len(chosen) < most and abs(missing - sizes[group]) <= abs(missing):
            chosen.append(group)
            missing -= sizes[group]
    return chosen or [int(order[sizes[order].argmin()])]


def split_by_column(published: np.ndarray) -> np.ndarray:
    """Return a published split: 0 train, 1 validation, 2 test; anything else −1, not used.

    Sides may be named instead, in any case: train, validation or val, test.

    Raises
    ------
    SpinlockError
        When most rows name no side, a side is empty, or one row alone is to train on.
    """
    values = _side_numbers(np.asarray(published))
    split = np.where((values >= TRAIN) & (values <= TEST), values, -1).astype(np.int8)
    remedy = "use 0 or train, 1 or validation, 2 or test"
    if 2 * np.count_nonzero(_names_no_side(values)) > len(values):
        found = [str(one) for one in strange_sides(np.asarray(published)).tolist()]
        raise SpinlockError(
            f"split.column names no side in most rows, but {listed(found)}",
            remedy=f"{remedy}; split.group_by keeps groups together",
        )
    for side, name in enumerate(SPLIT_NAMES):
        if not (split == side).any():
            raise SpinlockError(f"split.column has no {name} row ({side})", remedy=remedy)
    if (split == TRAIN).sum() < 2:
        raise SpinlockError(
            f"split.column has a single train row ({TRAIN}): two are the least", remedy=remedy
        )
    return split


def strange_sides(published: np.ndarray) -> np.ndarray:
    """Return the values of a published split that neither name a side nor are −1, ascending."""
    values = np.unique(published)
    return values[_names_no_side(_side_numbers(values))]


def _names_no_side(numbers: np.ndarray) -> np.ndarray:
    return (numbers < -1) | (numbers > TEST)


def _side_numbers(published: np.ndarray) -> np.ndarray:
    """Return sides as numbers, whether they are numbered or named; other names are 3."""
    if published.dtype.kind in "iu":
        return published.astype(np.int64)
    if published.dtype.kind not in "UO":
        raise SpinlockError(
            "split.column must hold integers (0 train, 1 validation, 2 test) or these names",
            remedy="name another dataset in split.column",
        )
    kinds, kind_of = np.unique(published, return_inverse=True)
    numbers = [SIDE_OF_NAME.get(kind.strip().lower(), len(SPLIT_NAMES)) for kind in kinds.tolist()]
    return np.array(numbers, np.int64)[kind_of]


def sample_rows(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return `most` of the rows, drawn at random, in their order; all where there are no more."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _part(n_rows: int, fraction: float) -> int:
    return max(1, round(n_rows * fraction)) if fraction > 0 else 0
