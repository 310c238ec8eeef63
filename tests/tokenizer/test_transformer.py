"""A tokenizer as a step of scikit-learn's pipelines."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from spinlock.errors import SpinlockError


@pytest.fixture
def labels(raw_values):
    """The sign of one of the two causes."""
    return raw_values[:, 0] > np.median(raw_values[:, 0])


@pytest.mark.parametrize(
    ("scale", "share"), [(StandardScaler(), 0.55), (OneHotEncoder(handle_unknown="ignore"), 0.7)]
)
def test_a_classifier_is_fitted_on_tokens(tokenizer, raw_values, labels, scale, share):
    pipeline = make_pipeline(tokenizer, scale, LogisticRegression())
    assert pipeline.fit(raw_values, labels).score(raw_values, labels) > share
    frame = pd.DataFrame(raw_values, columns=[one.full_name for one in tokenizer.columns])
    np.testing.assert_array_equal(pipeline.predict(frame), pipeline.predict(raw_values))
    assert cross_val_score(pipeline, raw_values, labels, cv=3).shape == (3,)


def test_nothing_is_fitted(tokenizer, raw_values, labels):
    assert tokenizer.fit() is tokenizer
    assert tokenizer.fit(raw_values, labels) is tokenizer
    np.testing.assert_array_equal(
        tokenizer.fit_transform(raw_values, labels), tokenizer.transform(raw_values)
    )


def test_a_clone_shares_the_model_and_not_the_choice_of_output(tokenizer, raw_values):
    other = clone(tokenizer).set_output(transform="pandas")
    assert other._model is tokenizer._model
    assert isinstance(tokenizer.transform(raw_values), np.ndarray)
    frame = other.transform(raw_values)
    assert isinstance(clone(other).transform(raw_values), pd.DataFrame)
    np.testing.assert_array_equal(frame, tokenizer.transform(raw_values))


def test_a_pipeline_of_a_tokenizer_needs_no_fit_and_goes_both_ways(tokenizer, raw_values):
    pipeline = make_pipeline(tokenizer)
    flat = pipeline.transform(raw_values)
    np.testing.assert_array_equal(flat, tokenizer.transform(raw_values))
    back = pipeline.inverse_transform(flat)
    np.testing.assert_array_equal(back, tokenizer.inverse_transform(flat))


def test_the_columns_of_tokens_have_their_names_in_a_pipeline(tokenizer, raw_values):
    names = tokenizer.get_feature_names_out()
    assert tokenizer.get_feature_names_out(None) == names
    pipeline = make_pipeline(tokenizer)
    assert pipeline.get_feature_names_out() == names
    assert pipeline.get_feature_names_out(None) == names
    scaled = make_pipeline(tokenizer, StandardScaler()).fit(raw_values)
    assert list(scaled.get_feature_names_out()) == names


def test_a_tokenizer_reads_its_columns_of_a_wider_table(tokenizer, raw_values):
    wider = np.column_stack([raw_values, np.arange(len(raw_values))])
    columns = ColumnTransformer(
        [("tokens", tokenizer, list(range(13))), ("rest", "passthrough", [13])]
    )
    table = columns.fit_transform(wider)
    np.testing.assert_array_equal(table[:, :-1], tokenizer.transform(raw_values))
    assert columns.get_feature_names_out()[0] == "tokens__category_00_coarse"


@pytest.fixture
def framed(tokenizer):
    """The tokenizer, which gives arrays again when the test ends."""
    yield tokenizer
    tokenizer._output = None


def test_tokens_come_in_a_frame_where_a_pipeline_says_so(framed, raw_values):
    names = framed.get_feature_names_out()
    flat = framed.transform(raw_values)
    frame = pd.DataFrame(raw_values, columns=[one.full_name for one in framed.columns])
    frame.index = frame.index + 7
    pipeline = make_pipeline(framed).set_output(transform="pandas")
    for given in (raw_values, frame):
        tokens = pipeline.transform(given)
        assert list(tokens.columns) == names
        np.testing.assert_array_equal(tokens, flat)
    assert tokens.index.equals(frame.index)
    np.testing.assert_array_equal(
        pipeline.inverse_transform(tokens), framed.inverse_transform(flat)
    )
    assert isinstance(framed.set_output(transform="default").transform(raw_values), np.ndarray)
    with pytest.raises(SpinlockError, match="cannot be given as 'stone'"):
        framed.set_output(transform="stone")


def test_tokens_come_in_a_frame_where_scikit_learn_is_configured_so(tokenizer, raw_values):
    tokenizer.set_output()  # changes nothing
    with config_context(transform_output="pandas"):
        assert isinstance(tokenizer.transform(raw_values), pd.DataFrame)
    assert isinstance(tokenizer.transform(raw_values), np.ndarray)
