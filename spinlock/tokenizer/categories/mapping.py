"""Manual mappings of categories to features: their files, and the columns that they name.

A file is JSON {category: [features]}, as users write it and `cluster` does.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spinlock.errors import SpinlockError, listed
from spinlock.files import read_json

MAPPING_REMEDY = "give JSON {category: [column indices or feature names]}"
# names become parts of paths inside tokens.h5 and normalization_stats.npz
NAME = re.compile(r"\w[\w .+-]{0,99}")


def read_mapping(path: Path, remedy: str) -> dict[str, list[int | str]]:
    """Return category → column indices and feature names.

    Raises
    ------
    SpinlockError
        When the file cannot be read or is anything else; it then says `remedy`.
    """
    try:
        mapping = read_json(path)
        problem = _problem(mapping)
    except (OSError, ValueError) as error:
        raise SpinlockError(
            f"the categories cannot be read: {error}", where=path, remedy=remedy
        ) from error
    if problem:
        raise SpinlockError(
            f"this is no mapping of categories: {problem}", where=path, remedy=remedy
        )
    return mapping


def _problem(mapping: object) -> str | None:
    if not isinstance(mapping, dict):
        return f"it holds a {type(mapping).__name__}"
    for category, entries in mapping.items():
        if not NAME.fullmatch(category):
            return f"{category[:100]!r} is no name of a category (letters, digits, '_ .+-')"
        if not isinstance(entries, list):
            return f"the category {category!r} holds no list"
        for entry in entries:
            if isinstance(entry, bool) or not isinstance(entry, int | str):
                return f"{str(entry)[:50]!r} in {category!r} is no column index or feature name"
    return None


def mapped_partition(
    mapping: dict[str, list[int | str]], names: list[str], kept: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the partition of the kept columns that a manual mapping asks for.

    Parameters
    ----------
    mapping : dict
        As of `mapped_columns`. Columns that cleaning dropped are passed over.
    names : list of str
        Full names of all columns, in order.
    kept : int array [D]
        The columns that cleaning kept.

    Raises
    ------
    SpinlockError
        When the mapping names an unknown feature, one twice, or leaves a kept feature out.
    """
    columns = mapped_columns(mapping, names)
    position = {int(column): i for i, column in enumerate(kept)}
    partition = {
        category: np.array(sorted(position[c] for c in members if c in position), int)
        for category, members in columns.items()
    }
    named = {column for members in columns.values() for column in members}
    _refuse("leaves features out", [names[column] for column in kept if column not in named])
    return {category: members for category, members in partition.items() if len(members)}


def mapped_columns(mapping: dict[str, list[int | str]], names: list[str]) -> dict[str, list[int]]:
    """Return the columns of each category of a manual mapping.

    Parameters
    ----------
    mapping : dict
        Category → column indices, names ("energy") where one family alone has them, or full
        names ("summary/energy").
    names : list of str
        Full names of all columns, in order.

    Raises
    ------
    SpinlockError
        When the mapping names an unknown feature, one of several families, or one twice.
    """
    short = [name.split("/", 1)[1] for name in names]
    shared = {name for name, n in Counter(short).items() if n > 1}.difference(names)
    column_of: dict[int | str, int] = {i: i for i in range(len(names))}
    column_of |= {name: i for i, name in enumerate(short)}
    column_of |= {name: i for i, name in enumerate(names)}
    entries = [entry for members in mapping.values() for entry in members]
    _refuse("leaves open of which family", [str(one) for one in entries if one in shared])
    _refuse("names unknown features", [str(one) for one in entries if one not in column_of])
    counts = Counter(column_of[entry] for entry in entries)
    _refuse("names features twice", [names[one] for one, n in sorted(counts.items()) if n > 1])
    return {
        category: [column_of[entry] for entry in members] for category, members in mapping.items()
    }


def _refuse(problem: str, features: Sequence[str]) -> None:
    if features:
        raise SpinlockError(
            f"the category mapping {problem}: {listed(features)}",
            remedy="give every kept feature exactly once, by name or column index",
        )
