"""The program that compares quality at equal bits: fair to the others, honest in its page."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks.quality import measure_table, replaced
from benchmarks.quality_figure import quality_figure
from benchmarks.quality_page import best_peer, page
from benchmarks.tables import FOREIGN_FILE, RawTable, known_tables, messy, simulated_operators
from spinlock.errors import SpinlockError


def other(method: str, bits: float, quality: float) -> dict:
    return {"method": method, "bits": bits, "quality": quality}


def run(ours: float, others: list[dict], seed: int = 0) -> dict:
    own = {"bits": 95.0, "budget": 96, "categories": 8, "quality": ours}
    own |= {"utilization": 0.9, "orthogonality": 0.1, "measured_on": "2026-02-28"}
    sizes = {"train_rows": 80, "test_rows": 10, "columns": 30}
    return sizes | {"seed": seed, "ours": [own], "others": others}


def our_curve(figure: Figure) -> np.ndarray:
    ours = next(line for line in figure.axes[0].get_lines() if line.get_linewidth() == 2)
    return ours.get_xydata()


def test_a_peer_has_no_fewer_bits_than_ours_and_none_that_ours_has_not():
    peers = [other("faiss_pq4", 92.0, 0.99), other("faiss_pq4", 96.0, 0.8)]
    peers += [other("faiss_rq8", 160.0, 0.95), other("gaussian_reference", 96.0, 1.0)]
    assert best_peer(run(0.9, peers[:2]), 95.0) == peers[1]
    assert best_peer(run(0.9, peers), 95.0) == peers[2]


def test_each_table_says_when_ours_was_measured():
    first, second = (run(0.9, [other("faiss_pq8", 96.0, 0.8)], seed) for seed in range(2))
    second["ours"][0]["measured_on"] = "2026-03-01"
    assert "; ours measured up to 2026-03-01." in page({"table": [first, second]})


def test_where_none_can_spend_the_bits_their_most_count():
    peers = [other("pca_lloyd_max", 40.0, 0.7), other("pca_lloyd_max", 60.0, 0.8)]
    assert best_peer(run(0.9, peers), 95.0) == peers[1]
    assert "0.900** / 0.800 (95 / 60 bits)" in page({"table": [run(0.9, peers)]})


@pytest.mark.parametrize(
    ("ours", "shown"), [(0.9, "**0.900** / 0.800"), (0.7, "0.700 / **0.800**")]
)
def test_the_page_marks_whichever_is_better(ours, shown):
    text = page({"a table": [run(ours, [other("faiss_pq8", 96.0, 0.8)])]})
    assert shown in text
    assert "| a table | 80 × 30 | 1 |" in text


def test_several_seeds_show_their_spread():
    peer = [other("faiss_pq8", 96.0, 0.8)]
    text = page({"a table": [run(0.7, peer), run(0.9, peer, seed=1)]})
    assert "**0.800 ± 0.141**" in text


def test_the_page_says_where_training_gains_most():
    peers = [other("faiss_pq8", 96.0, 0.6)]
    short, long = run(0.8, peers), run(0.7, peers)
    short["ours"][0]["trained"] = {"280": 0.79}
    long["ours"][0]["trained"] = {"280": 0.71, "2800": 0.75}
    text = page({"operators, 1000": [short], "operators, 10000": [long | {"train_rows": 8000}]})
    assert (
        "by -0.0100 to +0.0500; the largest gain\nis at 8000 train rows, 96 bits and 2800 gradient"
        in text
    )
    assert "| 8000 | 96 | 2800 | 1 | 0.700 | 0.750 | +0.0500 |" in text


def test_a_run_replaces_the_budgets_of_its_seed_and_no_others():
    before = [run(0.5, [other("faiss_pq8", 96.0, 0.4)], seed) for seed in (1, 0)]
    before[1]["ours"].append(before[1]["ours"][0] | {"budget": 24, "quality": 0.3})
    again = run(0.9, [other("faiss_pq8", 96.0, 0.8), other("faiss_rq4", 96.0, 0.7)])
    first, second = replaced(before, again)
    assert second is before[0]
    assert [(one["budget"], one["quality"]) for one in first["ours"]] == [(24, 0.3), (96, 0.9)]
    assert [one["quality"] for one in first["others"]] == [0.8, 0.7]


def test_a_run_of_other_rows_replaces_all_of_its_seed():
    before = run(0.5, [])
    before["ours"][0]["budget"] = 24
    assert replaced([before], run(0.9, []) | {"train_rows": 81})[0]["ours"] == run(0.9, [])["ours"]


def test_the_curve_shows_our_mean_and_every_method_that_was_measured():
    peers = [other("faiss_pq8", 96.0, 0.8), other("gaussian_reference", 96.0, 0.95)]
    figure = quality_figure([run(0.7, peers), run(0.9, peers, seed=1)])
    _, labels = figure.axes[0].get_legend_handles_labels()
    assert sorted(labels) == ["Gaussian reference", "PQ 8-bit", "spinlock, start"]
    np.testing.assert_allclose(our_curve(figure), [[96, 0.8]])


def test_the_page_tells_what_the_longest_trainings_gain_as_rows_grow():
    peers, sizes = [other("faiss_pq8", 96.0, 0.5)], {}
    for rows, gain in ((800, 0.01), (80_000, 0.04)):
        sizes[rows] = [run(0.8, peers, seed) | {"train_rows": rows} for seed in (0, 1)]
        for i, one in enumerate(sizes[rows]):
            one["ours"][0]["trained"] = {"280": 0.7, "2800": 0.8 + gain + 0.002 * i}
    text = page({"operators, 1000": sizes[800], "operators, 100000": sizes[80_000]})
    told = "gain of 2800 gradient steps at 96 bits by train rows: +0.0110 at 800, +0.0410 at 80000."
    assert told in text
    assert "by -0.1000 to +0.0420; the largest gain\nis at 80000 train rows, 96 bits" in text


def test_a_budget_that_one_seed_alone_was_measured_at_is_shown():
    peers = [other("faiss_pq8", 160.0, 0.5)]
    one, more = run(0.7, peers), run(0.9, peers, seed=1)
    more["ours"].append(more["ours"][0] | {"budget": 160, "bits": 160.0, "quality": 0.95})
    figure = quality_figure([one, more])
    np.testing.assert_allclose(our_curve(figure), [[96, 0.8], [160, 0.95]])
    text = page({"table": [one, more]})
    assert "| 160 (1 of the seeds) | 160 | 8 | 0.950 |" in text


def test_where_a_seed_was_not_measured_its_peers_do_not_count_either():
    peers = [other("faiss_pq8", 96.0, 0.5), other("faiss_pq8", 24.0, 0.2)]
    one, more = run(0.7, peers[:1]), run(0.9, peers, seed=1)
    more["ours"].append(more["ours"][0] | {"budget": 24, "bits": 24.0, "quality": 0.3})
    (peer,) = [
        line for line in quality_figure([one, more]).axes[0].get_lines()
        if line.get_linewidth() == 1 and len(line.get_xydata()) == 2
    ]  # fmt: skip
    np.testing.assert_allclose(peer.get_xydata(), [[24, 0.2], [96, 0.5]])


def test_fewer_operators_than_a_table_is_named_after_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "operators.h5"
    values = np.random.default_rng(0).normal(size=(8, 3))
    RawTable({"architecture": values, "summary": values}).write(path)
    monkeypatch.setattr("benchmarks.tables.generated_shards", lambda: [path])
    assert len(simulated_operators(5).families["summary"]) == 5
    with pytest.raises(SpinlockError, match="8 simulated operators are at hand, 9 are wanted"):
        simulated_operators(9)


@pytest.mark.parametrize("name", ["shared factors", "blobs", "counts", "mixed kinds"])
def test_a_table_that_is_made_depends_on_the_seed_alone(name):
    make = known_tables(FOREIGN_FILE)[name]
    first, again, other = (make(seed).families["measurements"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == other.shape
    assert not np.array_equal(first, other)


def test_counts_are_whole_and_of_few_values():
    counts = known_tables(FOREIGN_FILE)["counts"](0).families["measurements"]
    assert np.array_equal(counts, np.round(counts))
    assert max(len(np.unique(column)) for column in counts.T) < len(counts) / 4
    groups = np.corrcoef(counts.T).reshape(6, 10, 6, 10).mean(axis=(1, 3))
    within, between = groups.diagonal(), groups[~np.eye(6, dtype=bool)]
    assert within.min() > 0.2
    assert np.abs(between).max() < 0.05


def test_a_messy_table_is_measured_from_its_raw_rows_to_its_tokens():
    rng = np.random.default_rng(0)
    clean = np.repeat(rng.normal(size=(120, 4)), 3, axis=1) + 0.1 * rng.normal(size=(120, 12))
    table = messy(RawTable({"table": clean}), 0)
    measured = measure_table(table, 0, [12, 24], trained=[12], steps=[2, 4])
    assert measured["columns"] == 12  # what messy() adds is dropped
    low, high = measured["ours"]
    assert 0.3 < low["quality"] < high["quality"]
    assert low["bits"] <= 12
    assert sorted(low["trained"]) == ["2", "4"]
    assert "trained" not in high
    budgets = {one["bits"] for one in measured["others"] if one["method"] == "gaussian_reference"}
    assert {12.0, 24.0} <= budgets
