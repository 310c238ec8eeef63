"""What metrics hide is told."""

import pytest

from spinlock.analysis import doubts

MOSTLY_CAPPED = {"quality_before_caps": {"percentile_10": 0.2, "capped_share": 0.4}}


def test_what_caps_hide_is_told(caplog):
    doubts._warn_of_caps({"quality_by_feature": {"percentile_10": 0.9}} | MOSTLY_CAPPED)
    assert "below 0.900, and below 0.200 of the values before, of which 40.0 %" in caplog.text
    caplog.clear()
    doubts._warn_of_caps({"quality_by_feature": {"percentile_10": 0.21}} | MOSTLY_CAPPED)
    assert not caplog.text


def test_a_feature_that_decides_the_quality_alone_is_told(caplog):
    weights = {"worst": [{}] * 5, "heaviest": {"feature": "summary/x", "share": 0.9}}
    doubts._warn_of_one_feature(weights)
    assert "summary/x alone has 90 %" in caplog.text
    caplog.clear()
    doubts._warn_of_one_feature(weights | {"heaviest": {"feature": "summary/x", "share": 0.4}})
    doubts._warn_of_one_feature(weights | {"heaviest": None})
    assert not caplog.text


@pytest.mark.parametrize(("n_rows", "told"), [(29, True), (30, False)])
def test_metrics_of_few_rows_are_told(caplog, n_rows, told):
    doubts._warn_of_few_rows(n_rows)
    assert (f"of {n_rows} rows: what differs" in caplog.text) is told


@pytest.mark.parametrize(
    ("by_level", "told"),
    [
        ({"coarse": 0.5, "medium": 0.44, "fine": 0.9}, ["medium, quality is 0.440, less than"]),
        ({"coarse": 0.5, "medium": 0.495, "fine": 0.9}, []),
        ({"coarse": None, "fine": 0.9}, []),
    ],
)
def test_levels_that_tell_less_than_those_before_are_told(caplog, by_level, told):
    doubts._warn_of_falling_levels(by_level)
    assert [text for text in told if text in caplog.text] == told
    assert len(caplog.records) == len(told)
