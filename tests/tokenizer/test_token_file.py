"""Token files: the layout that programs rely on, and words of one flat vocabulary."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.tokenizer import token_file
from spinlock.tokenizer.token_file import (
    SPECIAL_TOKENS,
    TokenWriter,
    flat_offsets,
    smallest_type,
    write_parquet,
)

modest = settings(deadline=None, max_examples=60)


@st.composite
def book_sizes(draw) -> np.ndarray:
    """Sizes [C, L] of books."""
    n_levels = draw(st.integers(1, 3))
    size = st.integers(1, 1000)
    levels = st.lists(size, min_size=n_levels, max_size=n_levels)
    return np.array(draw(st.lists(levels, min_size=1, max_size=4)))


@modest
@given(book_sizes())
def test_each_word_stands_for_one_code_of_one_book_and_no_special_token(sizes):
    offsets = flat_offsets(sizes)
    words = [
        int(offset) + token
        for offset, size in zip(offsets.ravel(), sizes.ravel(), strict=True)
        for token in range(size)
    ]
    first = len(SPECIAL_TOKENS)
    assert words == list(range(first, first + int(sizes.sum())))


@pytest.mark.parametrize(
    ("largest_book", "dtype"),
    [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")],
)
def test_tokens_are_kept_in_the_smallest_type_that_holds_them(largest_book, dtype):
    assert smallest_type(largest_book) == np.dtype(dtype)


@pytest.fixture
def tokens_file(tokenizer, raw_values, tmp_path) -> Path:
    """A token file written in two parts."""
    path = tmp_path / "tokens.h5"
    tokens = tokenizer.encode(raw_values)
    row_ids = np.arange(len(tokens)) * 3
    split = (np.arange(len(tokens)) % 4 - 1).astype(np.int8)
    with h5py.File(path, "w") as file:
        writer = TokenWriter(file, tokenizer, row_ids, split)
        writer.write(100, tokens[100:])
        writer.write(0, tokens[:100])
    return path


def test_the_hdf5_file_holds_tokens_rows_sides_books_and_vocabulary(
    tokens_file, tokenizer, raw_values
):
    tokens = tokenizer.encode(raw_values)
    with h5py.File(tokens_file) as file:
        assert file["tokens"].dtype == np.uint8
        np.testing.assert_array_equal(file["tokens"][:], tokens)
        np.testing.assert_array_equal(file["row_ids"][:], np.arange(len(tokens)) * 3)
        assert set(file["split"][:]) == {-1, 0, 1, 2}
        np.testing.assert_array_equal(
            file["vocabulary/offsets"][:], flat_offsets(tokenizer.codebook_sizes)
        )
        for category, books in zip(tokenizer.categories, tokenizer.codebooks, strict=True):
            for level, book in zip(("coarse", "medium", "fine"), books, strict=True):
                np.testing.assert_array_equal(file[f"codebooks/{category}/{level}"][:], book)
        assert dict(file.attrs).keys() == {
            "format",
            "categories",
            "levels",
            "special_tokens",
            "vocabulary_size",
            "model_digest",
        }
        assert file.attrs["format"] == "spinlock-tokens-1"
        assert list(file.attrs["categories"]) == list(tokenizer.categories)
        assert list(file.attrs["levels"]) == ["coarse", "medium", "fine"]
        assert list(file.attrs["special_tokens"]) == list(SPECIAL_TOKENS)
        assert file.attrs["vocabulary_size"] == 3 + tokenizer.codebook_sizes.sum()
        assert file.attrs["model_digest"] == "digest-of-the-model"


def test_the_words_of_the_page_are_of_the_vocabulary_and_give_the_tokens_back(
    tokens_file, tokenizer, raw_values, monkeypatch
):
    page = (Path(__file__).parents[2] / "docs/token-files.md").read_text()
    monkeypatch.chdir(tokens_file.parent)
    made = {"h5py": h5py}
    exec(page.split("```python\n")[1].split("```")[0], made)
    with h5py.File(tokens_file) as file:
        assert made["words"].min() >= len(file.attrs["special_tokens"])
        assert made["words"].max() < file.attrs["vocabulary_size"]
    np.testing.assert_array_equal(made["again"], tokenizer.encode(raw_values))


def test_the_same_tokens_give_the_same_bytes(tokenizer, raw_values, tmp_path):
    def write(name: str) -> bytes:
        tokens = tokenizer.encode(raw_values[:20])
        with h5py.File(tmp_path / name, "w") as file:
            split = np.zeros(20, np.int8)
            TokenWriter(file, tokenizer, np.arange(20), split).write(0, tokens)
        return (tmp_path / name).read_bytes()

    assert write("a.h5") == write("b.h5")


@pytest.mark.parametrize("block", [7, 240, 1000])  # of 240 rows
def test_the_table_has_a_row_for_each_operator_and_a_column_for_each_book(
    tokens_file, tokenizer, raw_values, tmp_path, monkeypatch, block
):
    monkeypatch.setattr(token_file, "ROWS_OF_TABLE", block)
    path = tmp_path / "tokens.parquet"
    write_parquet(path, tokens_file)
    frame = pd.read_parquet(path)
    names = [f"category_0{c}_{level}" for c in (0, 1) for level in ("coarse", "medium", "fine")]
    assert list(frame.columns) == ["row_id", "split", *names]
    tokens = tokenizer.encode(raw_values)
    np.testing.assert_array_equal(frame[names], tokens.reshape(len(tokens), -1))
    np.testing.assert_array_equal(frame["row_id"], np.arange(len(tokens)) * 3)
    np.testing.assert_array_equal(frame["split"], np.arange(len(tokens)) % 4 - 1)
    assert (frame[names].dtypes == np.uint8).all()
    described = json.loads(pq.read_schema(path).metadata[b"spinlock"])
    assert described == {"model_digest": "digest-of-the-model"}


def test_a_path_that_looks_like_an_address_is_one_of_a_file(tokens_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_parquet(Path("run:1/tokens.parquet"), tokens_file)
    assert len(pd.read_parquet(tmp_path / "run:1/tokens.parquet")) > 0


def test_a_table_is_told_where_it_goes(tmp_path):
    path = tmp_path / "tokens.parquet"
    path.write_bytes(b"PAR1" * 10)
    with pytest.raises(SpinlockError, match="inverse_transform"):
        token_file.open_tokens(path)


def test_a_table_of_no_operator_has_its_columns(tokenizer, tmp_path):
    path = tmp_path / "tokens.h5"
    with h5py.File(path, "w") as file:
        TokenWriter(file, tokenizer, np.empty(0, int), np.empty(0, np.int8))
    write_parquet(tmp_path / "tokens.parquet", path)
    frame = pd.read_parquet(tmp_path / "tokens.parquet")
    assert frame.shape == (0, 2 + 6)
