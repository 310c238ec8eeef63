"""What the clustering left behind is read as it was written, and nothing else is."""

import numpy as np
import pytest

from spinlock.errors import SpinlockError
from spinlock.results.clustering_files import (
    read_candidates,
    read_tree,
    write_candidates,
    write_tree,
)

SCORES = {"silhouette": 0.25, "mean_abs_cosine": 0.125, "validation_quality": None}


def test_candidates_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "silhouette.csv"
    write_candidates([SCORES | {"num_categories": n, "chosen": n == 3} for n in (2, 3)], path)
    found = read_candidates(path)
    assert found["num_categories"].tolist() == [2, 3]
    assert found["silhouette"].tolist() == [0.25, 0.25]
    assert found["chosen"].tolist() == [0, 1]
    assert np.isnan(found["validation_quality"]).all()
    path.write_text("num_categories\n2\n")
    with pytest.raises(SpinlockError, match="cannot be read"):
        read_candidates(path)


def test_a_tree_is_read_as_it_was_written_for_as_many_columns(tmp_path):
    path = tmp_path / "linkage.npz"
    tree, correlation = np.arange(8.0).reshape(2, 4), np.eye(3)
    write_tree(tree, correlation, path)
    for found, written in zip(read_tree(path, 3), (tree, correlation), strict=True):
        np.testing.assert_array_equal(found, written)
    with pytest.raises(SpinlockError, match="another number of columns"):
        read_tree(path, 4)
