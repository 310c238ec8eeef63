"""Files of categories: JSON {category: [features]}, as users write them and `cluster` does."""

import re
from pathlib import Path

from spinlock.errors import SpinlockError
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
