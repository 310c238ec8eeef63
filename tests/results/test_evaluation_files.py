"""Metrics are of a model where they say so, and are of a side of its own split."""

import pytest

from spinlock.results.evaluation_files import are_metrics_of, is_metrics

MEASURED = {"model_digest": "m", "dataset_digest": "d", "rows": {"measured_on": "test"}}


@pytest.mark.parametrize(
    ("side", "own"), [("test", True), ("validation", True), ("train", True), ("all", False)]
)
def test_they_are_of_the_side_that_a_split_reports_on(side, own):
    # where no row was set aside, that is the train side
    measured = MEASURED | {"rows": {"measured_on": side}}
    assert are_metrics_of(measured, "m", "d") is own


@pytest.mark.parametrize("others", [("m", "x"), ("x", "d")])
def test_they_are_of_one_model_and_dataset(others):
    assert are_metrics_of(MEASURED, "m", "d")
    assert not are_metrics_of(MEASURED, *others)
    assert not are_metrics_of({"rows": {}}, *others)


@pytest.mark.parametrize(
    ("content", "found"),
    [('{"targets": []}', True), ('{"rows": 1}', False), ('"my targets"', False), ("[", False)],
)
def test_another_json_file_is_not_taken_for_metrics(tmp_path, content, found):
    path = tmp_path / "own.json"
    path.write_text(content)
    assert is_metrics(path) is found
