"""Categories that want more bits than their books hold are divided further.

A cut of the tree makes groups of columns that are about as alike as one another, whatever their
numbers: one that has many columns and much to tell would get no more bits than its books hold,
while others have more than they need.
"""

from typing import Protocol

import numpy as np

from spinlock.tokenizer.categories.column_tree import Partition, cut_tree, merge_tree


class Demand(Protocol):
    """What categories want of the bits that there are, beside what their books hold."""

    def share(self, partition: Partition) -> float:
        """Return the share of the wanted bits that the categories' books hold."""

    def overfull(self, partition: Partition) -> list[int]:
        """Return the categories that want more than their books hold, the neediest first."""


def with_divided(
    partitions: dict[int, Partition],
    correlation: np.ndarray,
    most: int,
    min_features: int,
    demand: Demand,
) -> dict[int, Partition]:
    """Return the partitions by their number, or divided ones of that number that miss less."""
    found = dict(partitions)
    for partition in partitions.values():
        divided = divide_overfull(partition, correlation, most, min_features, demand)
        number = len(divided)
        if number not in found or demand.share(divided) > demand.share(found[number]):
            found[number] = divided
    return found


def divide_overfull(
    partition: Partition, correlation: np.ndarray, most: int, min_features: int, demand: Demand
) -> Partition:
    """Divide categories that want more bits than their books hold, up to `most` categories.

    Parameters
    ----------
    partition : list of int arrays
    correlation : array [D, D]
    most, min_features : int
        Categories, and columns of one, that there may be at most and at least.
    demand : Demand
    """
    while len(partition) < most:
        divided = (
            (c, _halves(partition[c], correlation, min_features))
            for c in demand.overfull(partition)
        )
        c, halves = next((one for one in divided if one[1]), (0, None))
        if halves is None:
            break
        partition = [*partition[:c], *halves, *partition[c + 1 :]]
    return sorted(partition, key=lambda group: int(group[0]))


def _halves(members: np.ndarray, correlation: np.ndarray, min_features: int) -> Partition:
    """Return the two groups that a category falls into first; none where one is too small."""
    if len(members) < 2 * min_features:
        return []
    own = correlation[np.ix_(members, members)]
    tree = merge_tree(own)
    for number in range(2, len(members) + 1):
        groups = cut_tree(tree, own, number, min_features)
        if len(groups) > 1:
            return [members[group] for group in groups]
    return []
