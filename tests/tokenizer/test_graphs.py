"""Encode and decode as graphs give what the tokenizer gives."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.settings.data import FeatureCleaning
from spinlock.tokenizer.graphs import decode_graph, encode_graph, write_graph, write_onnx
from spinlock.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def graphs(checkpoint):
    return {"encode": encode_graph(checkpoint), "decode": decode_graph(checkpoint)}


def with_torch(graphs, folder):
    """Give encode and decode as torch.export.load reads them."""
    programs = []
    for name, graph in graphs.items():
        write_graph(graph, folder / f"{name}.pt2")
        programs.append(torch.export.load(folder / f"{name}.pt2").module())
    return [lambda values, run=run: run(torch.from_numpy(values)).numpy() for run in programs]


def with_onnx(graphs, folder):
    """Give encode and decode as ONNX Runtime runs them."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    names = {"encode": (["features"], "tokens"), "decode": (["tokens"], "features")}
    sessions = []
    for name, graph in graphs.items():
        write_onnx(graph, folder / f"{name}.onnx", *names[name])
        sessions.append(onnxruntime.InferenceSession(folder / f"{name}.onnx"))
    return [
        lambda values, session=session: session.run(None, {session.get_inputs()[0].name: values})[0]
        for session in sessions
    ]


@pytest.fixture(scope="module", params=[with_torch, with_onnx], ids=["torch", "onnx"])
def programs(request, graphs, tmp_path_factory):
    return request.param(graphs, tmp_path_factory.mktemp("graphs"))


@pytest.mark.parametrize("n_rows", [1, 7, 240])
def test_tokens_and_features_are_those_of_the_tokenizer(programs, tokenizer, raw_values, n_rows):
    encode, decode = programs
    values = raw_values[:n_rows].copy()
    values[0, 3], values[-1, 5] = np.nan, np.inf
    tokens = encode(values)
    np.testing.assert_array_equal(tokens, tokenizer.encode(values))
    assert len(np.unique(tokens.reshape(n_rows, -1), axis=0)) > n_rows / 2
    unit = tokenizer.statistics.scale
    np.testing.assert_allclose(
        decode(tokens) / unit, tokenizer.decode(tokens) / unit, rtol=1e-5, atol=1e-5
    )


def test_values_far_out_go_on_as_logarithms_in_graphs_too(make_checkpoint, raw_values, tmp_path):
    cleaning = FeatureCleaning(outlier_bound=0.5, outliers="log")
    checkpoint = make_checkpoint([[16, 8, 4], [8, 8, 2]], cleaning=cleaning)
    tokenizer = Tokenizer(checkpoint)
    values = raw_values.copy()
    values[::5] *= 1e4
    for run_with in (with_torch, with_onnx):
        graphs = {"encode": encode_graph(checkpoint), "decode": decode_graph(checkpoint)}
        encode, decode = run_with(graphs, tmp_path)
        tokens = encode(values)
        np.testing.assert_array_equal(tokens, tokenizer.encode(values))
        np.testing.assert_allclose(decode(tokens), tokenizer.decode(tokens), rtol=1e-4, atol=1e-4)


def test_a_greedy_model_is_exported_too(checkpoint, raw_values):
    greedy = copy.deepcopy(checkpoint)
    greedy.model.shape = dataclasses.replace(greedy.model.shape, beam_width=1)
    tokens = encode_graph(greedy).module()(torch.from_numpy(raw_values)).numpy()
    np.testing.assert_array_equal(tokens, Tokenizer(greedy).encode(raw_values))


def test_a_model_that_reads_fields_takes_them_as_second_input(
    fields_checkpoint, fields, raw_values
):
    tokenizer = Tokenizer(fields_checkpoint)
    encode = encode_graph(fields_checkpoint, grid=12).module()
    tokens = encode(torch.from_numpy(raw_values), torch.from_numpy(fields)).numpy()
    np.testing.assert_array_equal(tokens, tokenizer.encode(raw_values, fields))
    assert (tokens != tokenizer.encode(raw_values, -fields)).any()
    gaps = fields.copy()
    gaps[::2, 0, 3], gaps[1, 1, 0], gaps[2, 0, :, 1] = np.nan, np.inf, -np.inf
    tokens = encode(torch.from_numpy(raw_values), torch.from_numpy(gaps)).numpy()
    np.testing.assert_array_equal(tokens, tokenizer.encode(raw_values, gaps))
    with pytest.raises(SpinlockError, match="one size"):
        encode_graph(fields_checkpoint)
    with pytest.raises(SpinlockError, match="too small"):
        encode_graph(fields_checkpoint, grid=0)
