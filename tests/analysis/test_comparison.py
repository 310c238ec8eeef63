"""Quantisers and predictors know the train rows alone, and are measured beside the model."""

import numpy as np

from spinlock.analysis.baselines import compare_baselines, residual_reconstruction
from spinlock.analysis.comparison import baselines_of, probe_label
from spinlock.analysis.probe import probe


def test_baselines_learn_from_train_rows_at_the_bits_of_the_prefixes(
    tokenizer, rows, known, held_out
):
    seen, unseen = rows.x[known], rows.x[held_out]
    expected = compare_baselines(seen, unseen, [10.0, 15.0, 19.0])
    assert baselines_of(tokenizer, seen, unseen) == expected


def test_a_label_is_learned_from_train_rows_and_predicted_on_test_rows(
    tokenizer, rows, known, held_out
):
    labels = np.digitize(rows.x[:, 0] + rows.x[:, 1], [-0.5, 0.0, 0.5])
    fitted = known[::2]
    kinds = {
        "features": rows.x,
        "tokens": tokenizer.embed(rows.tokens).reshape(len(rows.x), -1),
        "faiss_rq": residual_reconstruction(rows.x[fitted], rows.x, 19),
    }
    assert probe_label(tokenizer, rows, labels, fitted) == probe(kinds, labels, known, held_out)
