"""Figures and report of an experiment, made in this process."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from spinlock.commands import evaluate
from spinlock.errors import SpinlockError
from spinlock.features.split import TEST
from spinlock.features.table import FeatureTable
from spinlock.stages import visualize
from spinlock.tokenizer.tokenizer import Tokenizer

FILES = (
    "best_model.pt", "subset.h5", "silhouette.csv", "linkage.npz", "metrics.json", "baselines.csv",
)  # fmt: skip


@pytest.fixture(scope="module")
def drawn(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "results/some/experiment"
    run(finished, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(finished):
    return Tokenizer.load(finished.path("best_model.pt"))


@pytest.fixture(scope="module")
def table(finished):
    with FeatureTable(finished.path("subset.h5")) as opened:
        yield opened


@pytest.fixture(scope="module")
def tokens(finished, table):
    """Tokens of the rows of the subset."""
    with h5py.File(finished.path("tokens.h5")) as file:
        return file["tokens"][:][table.row_ids].astype(int)


def run(finished, folder, **changes):
    paths = {name: finished.path(name) for name in FILES} | changes
    tokens = changes.get("tokens.h5", finished.path("tokens.h5"))
    visualize.run(
        finished.experiment, *[paths[name] for name in FILES], tokens,
        folder / "figures", folder / "report.html",
    )  # fmt: skip


def test_the_report_accounts_for_what_cleaning_did(drawn):
    page = (drawn / "report.html").read_text()
    assert "some/experiment" in page
    for words in ("summary_11", "rows with imputed values", "rows beyond max_samples"):
        assert words in page
    assert "values of temporal that were not numbers, filled" in page


def test_figures_show_what_the_metrics_say(finished, drawn):
    metrics = json.loads(finished.path("metrics.json").read_text())
    drawn_text = {
        name: (drawn / f"figures/{name}.svg").read_text() for name in ("distances", "codebook_use")
    }
    n = metrics["rows"]["pairs_of"]
    assert (
        f"correlation {metrics['topographic']:.3f} over {n * (n - 1) // 2:,}"
        in drawn_text["distances"]
    )
    assert f"mean utilization {metrics['utilization']:.2f}" in drawn_text["codebook_use"]


def test_every_figure_is_there_in_both_formats(drawn):
    names = {path.stem for path in (drawn / "figures").iterdir()}
    assert len(names) > 5
    assert {path.name for path in (drawn / "figures").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("svg", "png")
    }


def test_tokens_are_found_by_the_numbers_of_operators(finished, table, tokens, tmp_path):
    shuffled = tmp_path / "tokens.h5"
    shuffled.write_bytes(finished.path("tokens.h5").read_bytes())
    with h5py.File(shuffled, "a") as file:
        order = np.random.default_rng(0).permutation(len(file["row_ids"]))
        for name in ("tokens", "row_ids"):
            file[name][:] = file[name][:][order]
        np.testing.assert_array_equal(visualize._tokens_of(file, table.row_ids), tokens)


def test_what_is_shown_of_an_operator_is_its_own(tokenizer, table, tokens):
    sample = visualize._sample(tokenizer, table, tokens, 60, seed=3)
    rows = np.searchsorted(table.row_ids, sample.ids)
    assert len(set(rows)) == 60
    np.testing.assert_array_equal(sample.ids, table.row_ids[rows])
    np.testing.assert_array_equal(sample.x, tokenizer.normalize(table.read())[rows])
    np.testing.assert_array_equal(sample.tokens, tokens[rows])
    np.testing.assert_array_equal(sample.split, table.split[rows])
    for name, labels in sample.labels.items():
        np.testing.assert_array_equal(labels, table.labels(name)[rows])
    assert "metadata/kind" in sample.labels


def test_reconstruction_is_shown_of_the_test_rows(tokenizer, table, tokens):
    measured = visualize._reconstruction(tokenizer, table, tokens, seed=3)
    test = table.rows(TEST)
    assert (measured.rows, measured.n_rows) == ("test", len(test))
    x = tokenizer.normalize(table.read(test)).astype(float)
    missed = ((x - tokenizer.reconstruct(tokens[test])) ** 2).sum(axis=0)
    total = ((x - tokenizer.statistics.normalized_mean) ** 2).sum(axis=0)
    varies = np.ptp(x, axis=0) > 0
    np.testing.assert_allclose(
        measured.by_feature[-1][varies], 1 - missed[varies] / total[varies], rtol=1e-5
    )


def test_distances_are_shown_of_as_many_rows_as_were_measured(tokenizer, table, tokens):
    shown = visualize._distances(tokenizer, table, tokens, {"rows": {"pairs_of": 9}})
    assert len(shown.between_rows) == 9 * 8 // 2


def test_tokens_of_another_dataset_are_told(finished, tmp_path):
    other = tmp_path / "tokens.h5"
    other.write_bytes(finished.path("tokens.h5").read_bytes())
    with h5py.File(other, "a") as file:
        file["row_ids"][:] = file["row_ids"][:] + 1000
    with pytest.raises(SpinlockError, match="tokens are of another dataset"):
        run(finished, tmp_path, **{"tokens.h5": other})


def test_tokens_of_another_model_are_told(finished, tmp_path):
    other = tmp_path / "tokens.h5"
    other.write_bytes(finished.path("tokens.h5").read_bytes())
    with h5py.File(other, "a") as file:
        file.attrs["model_digest"] = "0" * 64
    with pytest.raises(SpinlockError, match="tokens are of another model"):
        run(finished, tmp_path, **{"tokens.h5": other})


@pytest.mark.parametrize("digest", ["0" * 64, None])
@pytest.mark.parametrize("of", ["model_digest", "dataset_digest"])
def test_metrics_of_another_model_or_dataset_are_told(finished, tmp_path, of, digest):
    metrics = json.loads(finished.path("metrics.json").read_text()) | {of: digest}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(SpinlockError, match="not known to be of this model") as caught:
        run(finished, tmp_path, **{"metrics.json": tmp_path / "metrics.json"})
    assert "`evaluate`" in caught.value.remedy


def test_metrics_of_all_rows_are_not_those_of_held_out_ones(finished, tmp_path):
    measured = evaluate.run(finished.path("best_model.pt"), [finished.dataset])
    assert (
        measured["dataset_digest"]
        == json.loads(finished.path("metrics.json").read_text())["dataset_digest"]
    )
    (tmp_path / "metrics.json").write_text(json.dumps(measured))
    with pytest.raises(SpinlockError, match="held-out rows"):
        run(finished, tmp_path, **{"metrics.json": tmp_path / "metrics.json"})


@pytest.mark.parametrize("name", ["silhouette.csv", "linkage.npz", "metrics.json", "baselines.csv"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\0\0", b"a,b\n1"])
def test_files_of_other_stages_that_are_damaged_are_told(finished, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpinlockError, match=r"cannot be read|is not a file of") as caught:
        run(finished, tmp_path, **{name: tmp_path / name})
    assert name in str(caught.value)


def test_a_tree_of_other_columns_is_told(finished, tmp_path):
    with (tmp_path / "linkage.npz").open("wb") as file:
        np.savez(file, Z=np.zeros((3, 4)), correlation=np.zeros((4, 4)))
    with pytest.raises(SpinlockError, match="another number of columns"):
        run(finished, tmp_path, **{"linkage.npz": tmp_path / "linkage.npz"})


def test_tokens_of_no_operator_are_told(finished, tmp_path):
    other = tmp_path / "tokens.h5"
    other.write_bytes(finished.path("tokens.h5").read_bytes())
    with h5py.File(other, "a") as file:
        for name in ("tokens", "row_ids", "split"):
            none = file[name][:0]
            del file[name]
            file[name] = none
    with pytest.raises(SpinlockError, match="tokens are of another dataset"):
        run(finished, tmp_path, **{"tokens.h5": other})


def test_metrics_without_what_the_report_reads_are_told(finished, tmp_path):
    metrics = json.loads(finished.path("metrics.json").read_text())
    del metrics["rows"]["pairs_of"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(SpinlockError, match="pairs_of"):
        run(finished, tmp_path, **{"metrics.json": tmp_path / "metrics.json"})


def colored_by(finished, folder, feature):
    settings = finished.experiment
    shown = settings.visualization.model_copy(update={"color_by": feature})
    paths = [finished.path(name) for name in (*FILES, "tokens.h5")]
    visualize.run(
        settings.model_copy(update={"visualization": shown}), *paths,
        folder / "figures", folder / "report.html",
    )  # fmt: skip
    return (folder / "report.html").read_text()


def test_the_map_is_colored_by_the_feature_that_the_settings_name(finished, tmp_path):
    page = colored_by(finished, tmp_path, "summary/summary_4")
    names = Tokenizer.load(finished.path("best_model.pt")).kept_names
    chosen = re.search(r'"color_by": ?(\d+)', page)
    assert names[int(chosen[1])] == "summary/summary_4"


@pytest.mark.parametrize(
    ("feature", "message", "remedy"),
    [
        ("summary/summary_11", "which cleaning dropped", "summary/summary_1"),
        ("summary/sumary_4", "is no feature of this experiment", "summary/summary_4"),
        ("?", "is no feature of this experiment", "name it family/feature"),
    ],
)
def test_a_feature_that_cannot_color_the_map_is_told(finished, tmp_path, feature, message, remedy):
    with pytest.raises(SpinlockError, match=message) as caught:
        colored_by(finished, tmp_path, feature)
    assert remedy in caught.value.remedy
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("report", "name"),
    [
        ("/x/results/a/report.html", "a"),
        ("/x/results/a/b/report.html", "a/b"),
        ("/data/results/project/results/a/report.html", "a"),
        ("/x/elsewhere/report.html", "elsewhere"),
        ("/x/results/report.html", "results"),
    ],
)
def test_the_experiment_is_named_like_its_folder_of_results(report, name):
    assert visualize.experiment_name(Path(report)) == name
