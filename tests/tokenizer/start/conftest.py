"""Rows that several tests of the start fit books to."""

import pytest
import torch


@pytest.fixture
def graded():
    """Return a function of the number of rows: two columns of eight grades, one of two, parts."""

    def make(n_rows: int = 900) -> tuple[torch.Tensor, list[torch.Tensor]]:
        generator = torch.Generator().manual_seed(0)
        grades = [torch.randint(n, (n_rows,), generator=generator) / n for n in (2, 8, 8)]
        return torch.stack(grades, dim=1), [row.diag() for row in torch.eye(3)]

    return make
