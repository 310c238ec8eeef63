"""Names of columns, as different programs leave them in files."""

import json
import logging

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.features.dataset import open_dataset
from spinlock.features.naming import column_names

GROUP = "features/summary"
AGGREGATE = f"{GROUP}/aggregated"
DATASET = f"{AGGREGATE}/features"
NUMBERED = ["summary_0", "summary_1", "summary_2"]
REGISTRY = {"spatial": {"mean": 1, "deviation": 0}, "energy": {"mean": 2}}


@pytest.fixture
def names_of(write_h5, caplog):
    """Return a function of attributes: the names of three columns, and the warnings."""

    def names(attributes: dict[str, dict[str, object]]) -> tuple[list[str], list[str]]:
        caplog.clear()
        path = write_h5({DATASET: np.zeros((9, 3), np.float32)}, attributes)
        with caplog.at_level(logging.WARNING), open_dataset(path) as source:
            return source.families["summary"].column_names, [r.message for r in caplog.records]

    return names


def test_without_names_columns_are_numbered(names_of):
    assert names_of({}) == (NUMBERED, [])


@pytest.mark.parametrize("convert", [str, str.encode])
def test_a_registry_gives_category_and_name_in_the_order_of_columns(names_of, convert):
    attributes = {GROUP: {"feature_registry": convert(json.dumps(REGISTRY))}}
    assert names_of(attributes) == (["spatial/deviation", "spatial/mean", "energy/mean"], [])


def test_a_registry_wins_over_names(names_of):
    registry = {"feature_registry": json.dumps(REGISTRY), "feature_names": ["a", "b", "c"]}
    assert names_of({GROUP: registry})[0][2] == "energy/mean"


@pytest.mark.parametrize("place", [GROUP, AGGREGATE, DATASET])
@pytest.mark.parametrize(
    "names",
    [
        ["a", "b", "c"],
        np.array([b"a", b"b", b"c"]),
        np.array(["a", "b", "c"], dtype=h5py.string_dtype()),
        json.dumps(["a", "b", "c"]),
        b'["a", "b", "c"]',
        "['a', 'b', 'c']",
        "['a' \"b\"\n 'c']",
    ],
    ids=["list", "bytes", "objects", "JSON", "JSON bytes", "printed list", "printed array"],
)
def test_names_are_read_in_every_form_and_place(names_of, place, names):
    assert names_of({place: {"feature_names": names}}) == (["a", "b", "c"], [])


@pytest.mark.parametrize("group", [GROUP, AGGREGATE])
@pytest.mark.parametrize(
    "names",
    [
        ["a", "b", "c"],
        np.array([b"a", b"b", b"c"]),
        np.array([[b"a", b"b", b"c"]]),
        json.dumps(["a", "b", "c"]),
    ],
    ids=["texts", "bytes", "row", "JSON"],
)
def test_names_may_be_a_dataset_beside_the_features(write_h5, group, names):
    contents = {DATASET: np.zeros((9, 3)), f"{group}/feature_names": names}
    with open_dataset(write_h5(contents)) as source:
        assert source.families["summary"].column_names == ["a", "b", "c"]


@pytest.mark.parametrize("names", [np.zeros(3), h5py.Empty("S1")])
def test_a_dataset_that_holds_no_names_is_passed_over(write_h5, names):
    contents = {DATASET: np.zeros((9, 3)), f"{GROUP}/feature_names": names}
    with open_dataset(write_h5(contents)) as source:
        assert source.families["summary"].column_names == NUMBERED


def test_a_dataset_of_names_in_another_file_is_refused(write_h5, refused):
    write_h5({"names": ["a", "b", "c"]}, name="other.h5")
    link = {f"{GROUP}/feature_names": h5py.ExternalLink("other.h5", "/names")}
    path = write_h5({DATASET: np.zeros((9, 3))} | link)
    refused(path, "is a link to another file")
    with open_dataset(path, external=True) as source:
        assert source.families["summary"].column_names == ["a", "b", "c"]


def test_the_group_wins_over_the_dataset(names_of):
    attributes = {DATASET: {"feature_names": list("abc")}, GROUP: {"feature_names": list("xyz")}}
    assert names_of(attributes)[0] == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("registry", "count"),
    [
        ({"a": {"x": 0, "y": 1}}, 2),
        ({"a": {"x": 0, "y": 1, "z": 2, "w": 3}}, 4),
        ({"a": {"x": 0, "y": 1, "z": 3}}, 3),
        ({"a": {"x": 0, "y": 0, "z": 1}}, 2),
        ({"a": {"x": -1, "y": 0, "z": 1}}, 3),
        ({"a": {"x": "first", "y": 1, "z": 2}}, 0),
        ({"a": {"x": None, "y": 1, "z": 2}}, 0),
        ({"a": {"x": float("inf"), "y": 1, "z": 2}}, 0),
        ({"a": {"x": float("nan"), "y": 1, "z": 2}}, 0),
        ({"a": ["x", "y", "z"]}, 0),
        (["x", "y", "z"], 0),
        ({}, 0),
        (3, 0),
    ],
)
def test_a_registry_that_does_not_fit_is_passed_over_with_one_warning(names_of, registry, count):
    attributes = {GROUP: {"feature_registry": json.dumps(registry)}}
    names, warnings = names_of(attributes)
    assert names == NUMBERED
    assert len(warnings) == 1
    for words in ("summary", "feature_registry", f"{count} names", "3 columns"):
        assert words in warnings[0]


@pytest.mark.parametrize("columns", [(1, 2, 3), (0, 2, 4), (-1, 0, 1)])
def test_a_registry_of_other_columns_is_told_as_such(names_of, columns):
    registry = {"a": dict(zip("xyz", columns, strict=True))}
    _, (warning,) = names_of({GROUP: {"feature_registry": json.dumps(registry)}})
    assert "3 names for 3 columns, for columns that are not 0 to 2" in warning


@pytest.mark.parametrize("text", ["", "{", "not json", b"\xff\xfe", "[" * 30_000, '{"a": ' * 9_000])
def test_a_registry_that_is_no_json_is_passed_over_with_one_warning(names_of, text):
    names, warnings = names_of({GROUP: {"feature_registry": text}})
    assert (names, len(warnings)) == (NUMBERED, 1)


@pytest.mark.parametrize("value", [3, np.arange(3.0), h5py.Empty("S1")])
def test_a_registry_of_another_type_is_passed_over_with_one_warning(names_of, value):
    names, warnings = names_of({GROUP: {"feature_registry": value}})
    assert (names, len(warnings)) == (NUMBERED, 1)


def test_names_follow_a_registry_that_does_not_fit(names_of):
    bad = {"feature_registry": json.dumps({"a": {"x": 0}}), "feature_names": ["a", "b", "c"]}
    names, warnings = names_of({GROUP: bad})
    assert (names, len(warnings)) == (["a", "b", "c"], 1)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (["a", "b"], 2),
        (["a", "b", "a"], 3),
        ("a, b, c", 0),
        ('{"a": 0}', 0),
        ("[" * 30_000, 0),
        (3, 0),
        (h5py.Empty("S1"), 0),
    ],
)
def test_names_that_do_not_fit_are_passed_over_with_one_warning(names_of, value, count):
    names, warnings = names_of({GROUP: {"feature_names": value}})
    assert names == NUMBERED
    assert len(warnings) == 1
    assert f"feature_names has {count} names for 3 columns" in warnings[0]
    assert ("is it JSON?" in warnings[0]) is (count == 0)
    assert (", a more than once; it is not used" in warnings[0]) is (count == 3)
    assert "columns are called summary_0, summary_1, …" in warnings[0]


def test_halves_of_characters_which_no_file_can_hold_become_question_marks(names_of):
    names, told = names_of({GROUP: {"feature_names": json.dumps(["\ud800a", "b", "é"])}})
    assert (names, told) == (["?a", "b", "é"], [])
    both = json.dumps(["\ud800", "\udfff", "c"])  # equal then
    assert names_of({GROUP: {"feature_names": both}})[0] == NUMBERED


def test_names_that_do_not_fit_a_series_are_told_once(write_h5, caplog):
    path = write_h5(
        {"features/temporal/features": np.zeros((4, 5, 3))},
        {"features/temporal": {"feature_names": ["a", "b"]}},
    )
    with open_dataset(path) as source:
        assert source.families["temporal"].column_names == [
            "temporal_0",
            "temporal_1",
            "temporal_2",
        ]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("place", "shape"), [(DATASET, (3, 7)), ("features/temporal/features", (4, 3, 7))]
)
@pytest.mark.parametrize("attribute", ["feature_names", "feature_registry"])
def test_names_that_fit_another_axis_tell_of_a_transposed_table(
    write_h5, refused, place, shape, attribute
):
    names = {"feature_names": list("abc"), "feature_registry": json.dumps(REGISTRY)}
    family = "/".join(place.split("/")[:2])
    path = write_h5({place: np.zeros(shape)}, {family: {attribute: names[attribute]}})
    refused(path, "looks transposed", f"{attribute} has 3 names", str(shape))


def test_names_of_another_axis_do_no_harm_where_others_fit(write_h5):
    both = {"feature_registry": json.dumps(REGISTRY), "feature_names": list("abcdefg")}
    with open_dataset(write_h5({DATASET: np.zeros((3, 7))}, {GROUP: both})) as source:
        assert source.families["summary"].column_names == list("abcdefg")


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.binary())
def test_whatever_text_stands_there_every_column_gets_a_name_of_its_own(text):
    text = text.replace(b"\0", b"") if isinstance(text, bytes) else text
    with h5py.File("names.h5", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset(DATASET, (99, 3), np.float32)
        file[GROUP].attrs["feature_registry"] = text
        file[GROUP].attrs["feature_names"] = text
        names = column_names("summary", file[GROUP], data, 3)
    assert len(set(names)) == 3
    assert all(isinstance(name, str) for name in names)
