"""The public tokenizer: features in original units to tokens and back."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.features.table import Column, TableHeader
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.tokenizer import Tokenizer, level_names

modest = settings(deadline=None, max_examples=25)


def frame_of(tokenizer: Tokenizer, values: np.ndarray, *, full: bool = True) -> pd.DataFrame:
    names = [column.full_name if full else column.name for column in tokenizer.columns]
    return pd.DataFrame(values, columns=names)


def test_tokens_are_codes_of_each_category_and_level(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values)
    assert tokens.shape == (len(raw_values), 2, 3)
    assert tokens.min() >= 0
    assert (tokens < tokenizer.codebook_sizes).all()


def test_decoded_features_are_close_to_the_original_ones(tokenizer, raw_values):
    decoded = tokenizer.decode(tokenizer.encode(raw_values))
    assert decoded.shape == raw_values.shape
    kept = tokenizer.kept
    left = ((decoded - raw_values)[:, kept] ** 2).mean(0) / raw_values[:, kept].var(0)
    assert left.mean() < 0.3


def test_dropped_columns_come_back_as_what_was_measured_of_them(tokenizer, raw_values):
    decoded = tokenizer.decode(tokenizer.encode(raw_values))
    assert (decoded[:, 10] == 3.25).all()
    np.testing.assert_allclose(decoded[:, 11], 2.0 - 4.0 * decoded[:, 4], rtol=1e-4, atol=1e-5)
    assert (decoded[:, 12] == 1.0).all()


def test_the_columns_that_are_given_are_a_copy(tokenizer, raw_values):
    before = tokenizer.encode(raw_values)
    names = [column.full_name for column in tokenizer.columns]
    tokenizer.columns.reverse()
    assert [column.full_name for column in tokenizer.columns] == names
    np.testing.assert_array_equal(tokenizer.encode(raw_values), before)


def test_decoding_more_levels_is_closer(tokenizer, raw_values):
    x, tokens = tokenizer.normalize(raw_values), tokenizer.encode(raw_values)
    left = [((x - tokenizer.reconstruct(tokens, levels)) ** 2).mean() for levels in (1, 2, 3)]
    assert left[0] > left[1] > left[2]
    np.testing.assert_array_equal(tokenizer.reconstruct(tokens), tokenizer.reconstruct(tokens, 3))


@modest
@given(st.randoms(use_true_random=False), st.booleans())
def test_a_frame_is_read_by_name_in_any_order(tokenizer, raw_values, random, full):
    frame = frame_of(tokenizer, raw_values, full=full)
    order = list(frame.columns)
    random.shuffle(order)
    np.testing.assert_array_equal(tokenizer.encode(frame[order]), tokenizer.encode(raw_values))


def test_a_frame_without_names_is_read_by_number_where_the_columns_are_numbered(
    checkpoint, tokenizer, raw_values
):
    columns = [Column("summary", str(i)) for i in range(raw_values.shape[1])]
    header = TableHeader(columns, checkpoint.header.source_digest)
    numbered = Tokenizer(type(checkpoint)(**vars(checkpoint) | {"header": header}))
    frame = pd.DataFrame(raw_values).iloc[:, ::-1]
    np.testing.assert_array_equal(numbered.encode(frame), tokenizer.encode(raw_values))


def test_a_table_of_another_library_is_not_read_by_position(tokenizer, raw_values):
    table = pa.table(frame_of(tokenizer, raw_values).iloc[:, ::-1])
    for read in (tokenizer.encode, tokenizer.normalize, tokenizer.decode):
        with pytest.raises(
            SpinlockError, match="names of the columns of a Table of pyarrow"
        ) as caught:
            read(table)
        assert "table.to_pandas()" in caught.value.remedy
    np.testing.assert_array_equal(tokenizer.encode(table.to_pandas()), tokenizer.encode(raw_values))
    columns = SimpleNamespace(columns=["a"])  # as those of polars have them
    with pytest.raises(SpinlockError, match="SimpleNamespace of types"):
        tokenizer.inverse_transform(columns)


def test_columns_that_are_missing_and_unknown_are_named(tokenizer, raw_values):
    frame = frame_of(tokenizer, raw_values).rename(columns={"summary/s3": "summary/S3"})
    with pytest.raises(SpinlockError) as caught:
        tokenizer.encode(frame)
    assert "missing: summary/s3;" in caught.value.problem
    assert "unknown columns: summary/S3" in caught.value.problem


def test_a_name_that_stands_twice_in_a_frame_is_an_error(tokenizer, raw_values):
    frame = frame_of(tokenizer, raw_values)
    twice = pd.concat([frame, frame[["summary/s3"]] + 1], axis=1)
    with pytest.raises(SpinlockError, match="summary/s3"):
        tokenizer.encode(twice)


def test_a_short_name_of_two_families_is_an_error(checkpoint, raw_values):
    columns = list(checkpoint.header.columns)
    columns[0] = Column("architecture", "s0")
    header = TableHeader(columns, checkpoint.header.source_digest)
    ambiguous = Tokenizer(type(checkpoint)(**vars(checkpoint) | {"header": header}))
    with pytest.raises(SpinlockError, match="s0"):
        ambiguous.encode(
            frame_of(ambiguous, raw_values, full=False).loc[:, lambda f: ~f.columns.duplicated()]
        )
    np.testing.assert_array_equal(
        ambiguous.encode(frame_of(ambiguous, raw_values)), ambiguous.encode(raw_values)
    )


@pytest.mark.parametrize("shape", [(5,), (5, 12), (5, 14), (2, 5, 13), (0,)])
def test_an_array_of_another_shape_is_an_error_that_gives_both(tokenizer, shape):
    with pytest.raises(SpinlockError, match="13") as caught:
        tokenizer.encode(np.zeros(shape))
    assert str(shape) in caught.value.problem


def test_missing_and_infinite_values_are_encoded_as_the_median(tokenizer, raw_values):
    values = raw_values[:5].copy()
    values[0, 2], values[1, 3], values[2, 4] = np.nan, np.inf, -np.inf
    filled = values.copy()
    for row, column in ((0, 2), (1, 3), (2, 4)):
        filled[row, column] = tokenizer.statistics.impute[column]
    np.testing.assert_array_equal(tokenizer.encode(values), tokenizer.encode(filled))


def test_no_rows_give_no_tokens_and_no_tokens_no_rows(tokenizer):
    tokens = tokenizer.encode(np.empty((0, 13)))
    assert tokens.shape == (0, 2, 3)
    assert tokenizer.decode(tokens).shape == (0, 13)
    assert tokenizer.embed(tokens).shape[:2] == (0, 2)
    flat = tokenizer.transform(np.empty((0, 13)))
    assert flat.shape == (0, 6)
    assert tokenizer.inverse_transform(flat).shape == (0, 13)


def test_a_row_has_the_same_tokens_in_any_company(tokenizer, raw_values):
    many = np.tile(raw_values, (40, 1))  # more than one block
    tokens = tokenizer.encode(many)
    np.testing.assert_array_equal(tokens, np.tile(tokenizer.encode(raw_values), (40, 1, 1)))
    decoded = tokenizer.decode(tokens)
    np.testing.assert_allclose(decoded[-1], tokenizer.decode(tokens[-1:])[0], rtol=1e-5)


def test_the_flat_table_is_the_tokens_by_category_and_level(tokenizer, raw_values):
    flat, tokens = tokenizer.transform(raw_values), tokenizer.encode(raw_values)
    names = tokenizer.get_feature_names_out()
    assert flat.shape[1] == len(names)
    np.testing.assert_array_equal(flat[:, names.index("category_01_fine")], tokens[:, 1, 2])
    np.testing.assert_array_equal(tokenizer.inverse_transform(flat), tokenizer.decode(tokens))


def test_a_model_of_one_level_and_one_code_works(make_checkpoint, raw_values):
    tokenizer = Tokenizer(make_checkpoint([[8], [1]]))
    tokens = tokenizer.encode(raw_values)
    assert tokens.shape == (len(raw_values), 2, 1)
    assert not tokens[:, 1].any()
    assert tokenizer.decode(tokens, levels=1).shape == raw_values.shape
    assert tokenizer.bits == tokenizer.bits_by_level.sum() == 3
    np.testing.assert_array_equal(
        tokenizer.inverse_transform(tokenizer.transform(raw_values)), tokenizer.decode(tokens)
    )


@pytest.mark.parametrize("levels", [0, -1, 4, 1.0, "1", True, np.True_, np.float64(2), [1]])
def test_levels_that_the_model_does_not_have_are_an_error(tokenizer, raw_values, levels):
    tokens = tokenizer.encode(raw_values[:3])
    for use in (tokenizer.decode, tokenizer.embed):
        with pytest.raises(SpinlockError, match="1 to 3"):
            use(tokens, levels)


@pytest.mark.parametrize("beam", [0, -2, 2.5, 2.0, "2", True, np.nan, [2]])
def test_a_beam_that_is_no_positive_whole_number_is_an_error(tokenizer, raw_values, beam):
    with pytest.raises(SpinlockError, match="beam is"):
        tokenizer.encode(raw_values[:3], beam=beam)
    with pytest.raises(SpinlockError, match="beam is"):
        tokenizer.tokenize(tokenizer.normalize(raw_values[:3]), beam=beam)


def test_whole_numbers_of_numpy_are_whole_numbers(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values, beam=np.int64(3))
    np.testing.assert_array_equal(tokens, tokenizer.encode(raw_values, beam=3))
    decoded = tokenizer.decode(tokens, np.uint8(2))
    np.testing.assert_array_equal(decoded, tokenizer.decode(tokens, 2))


@pytest.mark.parametrize(("place", "token"), [((0, 0, 0), 16), ((1, 1, 2), 2), ((2, 0, 1), -1)])
def test_a_token_that_is_in_no_book_is_an_error(tokenizer, raw_values, place, token):
    tokens = tokenizer.encode(raw_values[:3])
    tokens[place] = token
    with pytest.raises(SpinlockError, match="not in its codebook"):
        tokenizer.decode(tokens)


@pytest.mark.parametrize("shape", [(3, 6), (3, 3, 2), (3, 2, 2), (6,)])
def test_tokens_of_another_shape_are_an_error(tokenizer, shape):
    with pytest.raises(SpinlockError, match="shape"):
        tokenizer.decode(np.zeros(shape, int))


def test_tokens_of_one_operator_are_told_how_they_are_read(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values)
    with pytest.raises(SpinlockError, match=r"one operator are read as tokens\[None\]"):
        tokenizer.decode(tokens[0])
    np.testing.assert_array_equal(tokenizer.decode(tokens[0][None]), tokenizer.decode(tokens[:1]))


def test_tokens_of_some_levels_are_told_how_to_decode_these(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values)
    with pytest.raises(SpinlockError, match=r"decode\(tokens, levels=1\) reads the first"):
        tokenizer.decode(tokens[:, :, :1])


def test_tokens_may_be_of_any_integer_type(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values)
    for dtype in (np.uint8, np.int16, np.int64):
        np.testing.assert_array_equal(
            tokenizer.decode(tokens.astype(dtype)), tokenizer.decode(tokens)
        )


def test_a_wider_beam_is_not_worse_over_all_rows(tokenizer, raw_values):
    x = tokenizer.normalize(raw_values)
    with torch.no_grad():
        z = tokenizer._model.encoder(torch.from_numpy(x)).transpose(0, 1).numpy()
    left = [
        ((z - tokenizer.embed(tokenizer.encode(raw_values, beam=beam))) ** 2).sum()
        for beam in (1, 8)
    ]
    assert left[1] <= left[0]


def test_the_beam_is_the_one_asked_for_or_that_of_the_model(
    checkpoint, raw_values, features, write_dataset
):
    tokenizer = Tokenizer(checkpoint)
    path = named(write_dataset(features), NAMES)
    x = torch.from_numpy(tokenizer.normalize(raw_values.astype(np.float32)))
    width = checkpoint.model.shape.beam_width
    found = {beam: checkpoint.model.tokenize(Rows(x), beam).numpy() for beam in (1, width, 8)}
    assert len({tokens.tobytes() for tokens in found.values()}) == 3
    for beam, tokens in (*found.items(), (None, found[width])):
        np.testing.assert_array_equal(tokenizer.tokenize(x, beam=beam), tokens)
        np.testing.assert_array_equal(tokenizer.encode(path, beam=beam), tokens)


@pytest.mark.parametrize("levels", [None, 1, 2, 3])
def test_embeddings_are_sums_of_the_codebooks(tokenizer, raw_values, levels):
    tokens = tokenizer.encode(raw_values[:4])
    embedded = tokenizer.embed(tokens, levels)
    for row in range(4):
        for c, books in enumerate(tokenizer.codebooks):
            codes = [book[k] for book, k in zip(books, tokens[row, c], strict=True)]
            expected = sum(codes[:levels])
            np.testing.assert_allclose(embedded[row, c], expected, rtol=1e-5, atol=1e-6)


def test_what_the_checkpoint_says_can_be_read(tokenizer, checkpoint):
    assert [len(b) for books in tokenizer.codebooks for b in books] == [16, 8, 4, 8, 8, 2]
    assert tokenizer.bits == 4 + 3 + 2 + 3 + 3 + 1
    assert tokenizer.kept_names == [column.full_name for column in checkpoint.header.columns[:10]]
    assert tokenizer.source_digest == "digest-of-the-dataset"
    assert tokenizer.config == {"random_seed": 3}
    assert tokenizer.metrics == {"quality": 0.75}
    assert tokenizer.provenance == {"data": "abc"}
    assert tokenizer.history == checkpoint.history


def test_what_is_written_to_its_arrays_changes_no_tokens(checkpoint, raw_values, tmp_path):
    checkpoint.save(tmp_path / "best_model.pt")
    tokenizer = Tokenizer.load(tmp_path / "best_model.pt")
    tokens = tokenizer.encode(raw_values)
    statistics = tokenizer.statistics.arrays().values()
    for array in (tokenizer.kept, *tokenizer.categories.values(), *statistics):
        with pytest.raises(ValueError, match="read-only"):
            array[:2] = 0
    tokenizer.codebook_sizes[:] = 1
    tokenizer.codebooks[0][0][:] = 0
    again = Tokenizer(tokenizer._checkpoint).encode(raw_values)  # without what is kept for speed
    np.testing.assert_array_equal(again, tokens)


def test_it_says_of_what_it_is(tokenizer):
    shown = repr(tokenizer)
    assert shown == (
        f"Tokenizer({tokenizer.bits:.4g} bits in 2 categories, 13 columns of which "
        f"{len(tokenizer.kept)} are kept)"
    )


def test_a_tokenizer_from_its_file_gives_the_same_tokens(checkpoint, raw_values, tmp_path):
    checkpoint.save(tmp_path / "best_model.pt")
    loaded = Tokenizer.load(tmp_path / "best_model.pt")
    tokens = Tokenizer(checkpoint).encode(raw_values)
    np.testing.assert_array_equal(loaded.encode(raw_values), tokens)
    np.testing.assert_array_equal(loaded.decode(tokens), Tokenizer(checkpoint).decode(tokens))


@pytest.mark.parametrize(
    ("device", "problem"), [("cuda", "not available on this machine"), ("foo", "is not known")]
)
def test_a_device_that_is_not_there_is_told_and_not_the_file(
    checkpoint, monkeypatch, tmp_path, device, problem
):
    checkpoint.save(tmp_path / "best_model.pt")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SpinlockError, match=f"device '{device}' .*{problem}"):
        Tokenizer.load(tmp_path / "best_model.pt", device=device)
    assert Tokenizer.load(tmp_path / "best_model.pt", device=torch.device("cpu")).n_levels == 3


def test_three_levels_have_names_and_others_numbers():
    assert level_names(3) == ["coarse", "medium", "fine"]
    assert level_names(2) == ["level_0", "level_1"]


@pytest.fixture
def features(raw_values):
    return {"architecture": raw_values[:, :4], "summary": raw_values[:, 4:]}


def named(path, names):
    with h5py.File(path, "r+") as file:
        for family, columns in names.items():
            file[f"features/{family}"].attrs["feature_names"] = columns
            file[f"features/{family}"].attrs.pop("feature_registry", None)
    return path


NAMES = {
    "architecture": [f"a{i}" for i in range(4)],
    "summary": [f"s{i}" for i in range(6)] + ["constant", "repeat", "missing"],
}


def test_a_dataset_or_its_shards_are_read_by_path(tokenizer, raw_values, features, write_dataset):
    whole = named(write_dataset(features), NAMES)
    half = {family: np.array_split(values, 2) for family, values in features.items()}
    shards = [
        named(write_dataset({k: v[i] for k, v in half.items()}, name=f"shard_{i}.h5"), NAMES)
        for i in range(2)
    ]
    expected = tokenizer.encode(raw_values.astype(np.float32))
    for given_as in (whole, str(whole), shards, [str(one) for one in shards]):
        np.testing.assert_array_equal(tokenizer.encode(given_as), expected)


def test_a_dataset_of_other_columns_names_the_missing_and_the_unknown(
    tokenizer, features, write_dataset
):
    other = NAMES | {"architecture": ["a0", "a1", "a2", "A3"]}
    with pytest.raises(SpinlockError) as caught:
        tokenizer.encode(named(write_dataset(features), other))
    assert "missing: architecture/a3; unknown: architecture/A3" in caught.value.problem


def test_columns_of_a_dataset_go_by_name_in_any_order(
    tokenizer, raw_values, features, write_dataset
):
    order = np.random.default_rng(0).permutation(len(NAMES["summary"]))
    names = NAMES | {"summary": [NAMES["summary"][i] for i in order]}
    shuffled = features | {"summary": features["summary"][:, order]}
    path = named(write_dataset(shuffled), names)
    expected = tokenizer.encode(raw_values.astype(np.float32))
    np.testing.assert_array_equal(tokenizer.encode(path), expected)
    path = named(write_dataset(features, name="names_alone.h5"), names)
    assert (tokenizer.encode(path) != expected).any()


def test_a_tokenizer_holds_nothing_of_its_training(tokenizer):
    checkpoint = replace(tokenizer._checkpoint, optimizer_state={"a": 1}, training_state={"b": 2})
    held = Tokenizer(checkpoint)._checkpoint
    assert (held.optimizer_state, held.training_state) == ({}, {})
    assert checkpoint.optimizer_state


def test_a_tokenizer_that_has_encoded_can_be_pickled(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values)
    again = pickle.loads(pickle.dumps(tokenizer))
    np.testing.assert_array_equal(again.encode(raw_values), tokens)


def test_masked_cells_are_gaps(tokenizer, raw_values):
    holes = np.zeros(raw_values.shape, bool)
    holes[::3, 1] = True
    masked = np.ma.array(np.where(holes, 1e20, raw_values), mask=holes)
    gaps = np.where(holes, np.nan, raw_values)
    np.testing.assert_array_equal(tokenizer.encode(masked), tokenizer.encode(gaps))


def test_gaps_of_a_frame_are_read_whatever_its_types_are(tokenizer, raw_values):
    frame = frame_of(tokenizer, raw_values).astype("Float64")
    frame.iloc[0, 1] = pd.NA
    gaps = raw_values.copy()
    gaps[0, 1] = np.nan
    for one in (frame, frame.astype(object)):
        np.testing.assert_array_equal(tokenizer.encode(one), tokenizer.encode(gaps))


def test_features_that_are_no_numbers_are_an_error(tokenizer, raw_values):
    frame = frame_of(tokenizer, raw_values).astype(object)
    frame.iloc[2, 3] = "many"
    with pytest.raises(SpinlockError, match=frame.columns[3]):
        tokenizer.encode(frame)
    for wrong in (frame.to_numpy(), raw_values + 1j):
        with pytest.raises(SpinlockError, match="are not numbers"):
            tokenizer.encode(wrong)


@pytest.mark.parametrize("dtype", ["complex128", "M8[s]", "m8[s]"])
def test_what_numpy_would_turn_into_numbers_is_no_number(tokenizer, raw_values, dtype):
    wrong = np.nan_to_num(raw_values).astype(dtype)
    frame = frame_of(tokenizer, raw_values)
    frame[frame.columns[1]] = wrong[:, 1]
    masked = np.ma.array(wrong, mask=np.zeros(wrong.shape, bool))
    for one in (wrong, frame, masked):
        with pytest.raises(SpinlockError, match="are not numbers"):
            tokenizer.encode(one)


def test_tensors_are_read_also_those_that_gradients_go_through(tokenizer, raw_values):
    tensor = torch.from_numpy(raw_values).requires_grad_()
    np.testing.assert_array_equal(tokenizer.encode(tensor), tokenizer.encode(raw_values))


def test_tensors_of_half_precision_are_read(tokenizer, raw_values):
    half = torch.from_numpy(raw_values).bfloat16()
    np.testing.assert_array_equal(tokenizer.encode(half), tokenizer.encode(half.float()))


def test_tokens_and_rows_may_be_tensors_that_numpy_does_not_read(tokenizer, raw_values):
    def lazy(array):  # a negation that is not carried out yet; those of a GPU are refused as well
        return torch._neg_view(torch.from_numpy(-array))

    tokens = tokenizer.encode(raw_values)
    for method in (tokenizer.decode, tokenizer.embed, tokenizer.reconstruct):
        np.testing.assert_array_equal(method(lazy(tokens)), method(tokens))
    flat = tokens.reshape(len(tokens), -1)
    np.testing.assert_array_equal(tokenizer.inverse_transform(lazy(flat)), tokenizer.decode(tokens))
    x = tokenizer.normalize(raw_values)
    np.testing.assert_array_equal(tokenizer.denormalize(lazy(x)), tokenizer.denormalize(x))


def test_rows_to_denormalize_of_another_shape_are_an_error(tokenizer):
    with pytest.raises(SpinlockError, match=r"shape \(3, 5\); this model's normalised rows"):
        tokenizer.denormalize(np.zeros((3, 5)))


def test_a_tokenizer_of_a_path_is_told_how_to_read_one():
    with pytest.raises(SpinlockError, match=r"Tokenizer\.load"):
        Tokenizer("best_model.pt")


@pytest.mark.parametrize(
    ("shape", "said"),
    [((13,), r"x\[None\]"), ((4, 64, 3), "describe_series"), ((4, 3), "a DataFrame")],
)
def test_the_remedy_fits_the_axes_of_what_was_given(tokenizer, shape, said):
    with pytest.raises(SpinlockError, match=said):
        tokenizer.encode(np.zeros(shape))


def test_a_frame_with_levels_of_names_is_told_how_to_join_them(tokenizer, raw_values):
    frame = frame_of(tokenizer, raw_values)
    parts = [name.split("/", 1) for name in frame.columns]
    frame.columns = pd.MultiIndex.from_tuples(parts)
    with pytest.raises(SpinlockError, match="2 levels of names") as caught:
        tokenizer.encode(frame)
    assert 'join them: frame.columns = ["/".join(' in caught.value.remedy
    frame.columns = ["/".join(names) for names in frame.columns]
    np.testing.assert_array_equal(tokenizer.encode(frame), tokenizer.encode(raw_values))


def test_flat_tokens_are_told_where_they_go(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values)
    frame = pd.DataFrame(tokens.reshape(len(tokens), -1), columns=tokenizer.get_feature_names_out())
    frame.insert(0, "row_id", range(len(frame)))
    for flat in (tokens.reshape(len(tokens), -1), frame):
        with pytest.raises(SpinlockError, match="inverse_transform"):
            tokenizer.decode(flat)
    tokenizer.inverse_transform(frame)


def test_normalized_rows_are_checked(tokenizer, raw_values):
    x = tokenizer.normalize(raw_values)
    tokens = tokenizer.encode(raw_values)
    np.testing.assert_array_equal(tokenizer.tokenize(x.astype(np.float64)), tokens)
    np.testing.assert_array_equal(tokenizer.normalize(frame_of(tokenizer, raw_values)), x)
    with pytest.raises(SpinlockError, match=r"normalised rows are \[n, 10\]"):
        tokenizer.tokenize(raw_values)
    for bad in (np.nan, np.inf, 1e300):
        wrong = x.astype(np.float64)
        wrong[2, 3] = bad
        with pytest.raises(SpinlockError, match="not finite"):
            tokenizer.tokenize(wrong)


def test_a_tokenizer_does_not_depend_on_how_torch_is_set(checkpoint, raw_values, tmp_path):
    checkpoint.save(tmp_path / "model.pt")
    expected = Tokenizer(checkpoint)
    tokens = expected.encode(raw_values)
    torch.set_default_dtype(torch.float64)
    try:
        loaded = Tokenizer.load(tmp_path / "model.pt")
        np.testing.assert_array_equal(loaded.encode(raw_values), tokens)
        np.testing.assert_array_equal(loaded.decode(tokens), expected.decode(tokens))
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(loaded.encode(raw_values), tokens)
        decoded = loaded.decode(tokens)
    np.testing.assert_array_equal(decoded, expected.decode(tokens))


def test_masked_tokens_are_an_error(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values)
    masked = np.ma.masked_equal(tokens, tokens[0, 0, 0])
    for decode in (tokenizer.decode, tokenizer.embed):
        with pytest.raises(SpinlockError, match="masked"):
            decode(masked)
    with pytest.raises(SpinlockError, match="masked"):
        tokenizer.inverse_transform(masked.reshape(len(tokens), -1))
    nothing_hidden = np.ma.array(tokens, mask=np.zeros(tokens.shape, bool))
    np.testing.assert_array_equal(tokenizer.decode(nothing_hidden), tokenizer.decode(tokens))


def test_tokens_may_be_read_only(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values)
    expected = tokenizer.decode(tokens)
    tokens.flags.writeable = False
    np.testing.assert_array_equal(tokenizer.decode(tokens), expected)


def test_tokens_that_are_no_whole_numbers_are_an_error(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values)
    for wrong in (tokens + 0.4, np.where(tokens == tokens[0], np.nan, tokens), tokens + 0j):
        with pytest.raises(SpinlockError, match="whole numbers"):
            tokenizer.decode(wrong)


def test_tokens_may_be_a_view(tokenizer, raw_values):
    tokens = tokenizer.encode(raw_values)
    turned = tokenizer.decode(tokens)[::-1]
    # float32 products add up rows of a block in another order by where they stand
    np.testing.assert_allclose(tokenizer.decode(tokens[::-1]), turned, rtol=1e-6)


def test_a_frame_of_tokens_is_read_by_name(tokenizer, raw_values):
    flat = pd.DataFrame(tokenizer.transform(raw_values), columns=tokenizer.get_feature_names_out())
    whole = tokenizer.inverse_transform(flat)
    np.testing.assert_array_equal(tokenizer.inverse_transform(flat[flat.columns[::-1]]), whole)
    with pytest.raises(SpinlockError, match=f"missing: {flat.columns[2]}"):
        tokenizer.inverse_transform(flat.drop(columns=flat.columns[2]))
    with pytest.raises(SpinlockError, match=r"unknown columns: A, B, C"):
        tokenizer.inverse_transform(flat.set_axis(list("ABCDEF"), axis=1))
    unnamed = flat.set_axis(range(6), axis=1)
    np.testing.assert_array_equal(tokenizer.inverse_transform(unnamed), whole)


@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "int64[pyarrow]", "uint16"])
def test_a_frame_of_tokens_may_be_of_nullable_integers_without_gaps(tokenizer, raw_values, dtype):
    tokens = tokenizer.transform(raw_values)
    flat = pd.DataFrame(tokens, columns=tokenizer.get_feature_names_out())
    mixed = flat.astype({flat.columns[0]: dtype})
    for frame in (flat.astype(dtype), mixed, pd.DataFrame(tokens).astype(dtype)):
        np.testing.assert_array_equal(
            tokenizer.inverse_transform(frame), tokenizer.inverse_transform(tokens)
        )
    if dtype != "uint16":
        mixed.iloc[2, 0] = pd.NA
        with pytest.raises(SpinlockError, match="leave out rows without tokens"):
            tokenizer.inverse_transform(mixed)


@pytest.mark.parametrize("shape", [(6,), (4, 5), (4, 6, 1)])
def test_a_flat_table_of_another_shape_is_an_error(tokenizer, shape):
    with pytest.raises(SpinlockError, match=r"\[n, 6\]"):
        tokenizer.inverse_transform(np.zeros(shape, int))


def test_fields_for_a_model_that_reads_none_are_an_error(tokenizer, raw_values):
    with pytest.raises(SpinlockError, match="reads no fields"):
        tokenizer.encode(raw_values, fields=np.zeros((len(raw_values), 1, 8, 8)))


@pytest.fixture(scope="module")
def reader(fields_checkpoint):
    """A tokenizer that reads fields."""
    return Tokenizer(fields_checkpoint)


def test_fields_may_be_of_any_type_and_order(reader, raw_values, fields):
    whole = np.round(fields * 8)
    tokens = reader.encode(raw_values, whole)
    assert (tokens != reader.encode(raw_values, fields)).any()
    for other in (
        whole.astype(np.float64),
        whole.astype(np.float16),
        whole.astype(">f8"),
        whole.astype(np.int8),
        whole.astype(object),
        whole[::-1, :, ::-1, ::-1].copy()[::-1, :, ::-1, ::-1],
        np.asfortranarray(whole),
        whole.tolist(),
        torch.from_numpy(whole),
    ):
        np.testing.assert_array_equal(reader.encode(raw_values, other), tokens)
        x = reader.normalize(raw_values)
        np.testing.assert_array_equal(reader.tokenize(x, other), tokens)


def test_fields_of_many_blocks_stay_with_their_rows(reader, raw_values, fields):
    own = reader.encode(raw_values, fields)
    rows = np.roll(np.arange(2500) % len(raw_values), 7)
    np.testing.assert_array_equal(reader.encode(raw_values[rows], fields[rows]), own[rows])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_in_given_fields_is_zero(reader, raw_values, fields, bad):
    gaps, zeros = fields.astype(np.float64), fields.copy()
    gaps[::2, :, ::3], zeros[::2, :, ::3] = bad, 0
    before = gaps.copy()
    expected = reader.encode(raw_values, zeros)
    np.testing.assert_array_equal(reader.encode(raw_values, gaps), expected)
    np.testing.assert_array_equal(gaps, before)
    masked = np.ma.masked_equal(gaps, bad) if np.isfinite(bad) else np.ma.masked_invalid(gaps)
    np.testing.assert_array_equal(reader.encode(raw_values, masked), expected)


def test_given_fields_give_the_tokens_of_the_same_fields_in_a_dataset(
    reader, raw_values, features, fields, write_dataset
):
    gaps = fields.copy()
    gaps[::2, 1, 3], gaps[1, 0, 0, 0] = np.nan, np.inf
    path = named(write_dataset(features, fields=gaps), NAMES)
    values = raw_values.astype(np.float32)
    np.testing.assert_array_equal(reader.encode(path), reader.encode(values, gaps))


def test_fields_beside_a_dataset_are_an_error(reader, features, fields, write_dataset):
    path = named(write_dataset(features, fields=fields), NAMES)
    for given_as in (path, [path]):
        with pytest.raises(SpinlockError, match="beside a dataset, whose own fields are read"):
            reader.encode(given_as, fields)


@pytest.mark.parametrize("shape", [(240, 2, 12), (240, 1, 12, 12), (239, 2, 12, 12), (240, 2), ()])
def test_fields_of_another_shape_are_an_error_that_gives_both(reader, raw_values, shape):
    with pytest.raises(SpinlockError, match=r"\[240, 2, H, W\]") as caught:
        reader.encode(raw_values, np.zeros(shape))
    assert str(shape) in caught.value.problem


def test_fields_that_are_no_numbers_are_an_error(reader, raw_values, fields):
    for wrong in (fields + 1j, np.full(fields.shape, "much"), [[0.0], [0.0, 1.0]]):
        with pytest.raises(SpinlockError, match="the fields are not numbers"):
            reader.encode(raw_values, wrong)


def test_a_model_that_reads_fields_asks_for_them(reader, raw_values):
    for use in (reader.encode, reader.transform):
        with pytest.raises(SpinlockError, match="there are none") as caught:
            use(raw_values)
        assert "encode(features, fields)" in caught.value.remedy
