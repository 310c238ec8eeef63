"""The whole pipeline on the mess that real files hold: finite, and nothing dropped in silence."""

import json
import re

import numpy as np
import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.features.split import SPLIT_NAMES, TEST
from spinlock.features.table import FeatureTable
from spinlock.results.training_files import read_statistics
from spinlock.settings import load_experiment
from spinlock.stages import visualize
from spinlock.tokenizer.normalization.statistics import Reason
from spinlock.tokenizer.tokenizer import Tokenizer

BOTH = {"architecture": "MLPEncoder", "summary": "MLPEncoder"}
SIDES = np.random.default_rng(3).permutation(np.repeat([0, 1, 2], [160, 20, 20]))


def gaps(values, rng):
    values["summary"][rng.random(len(values["summary"])) < 0.3, 2] = np.nan


def mostly_missing(values, rng):
    values["summary"][rng.random(len(values["summary"])) < 0.64, 3] = np.nan


def infinities(values, rng):
    values["summary"][::17, 1] = np.inf
    values["summary"][::23, 1] = -np.inf


def constants(values, rng):
    values["architecture"][:, 0] = 3.0


def rounding_noise(values, rng):
    noise = rng.normal(size=len(values["summary"]))
    values["summary"] = values["summary"].astype(np.float64)
    values["summary"][:, 0] = 7.0 + 1e-16 * noise


def duplicates(values, rng):
    values["summary"][:, 5] = 2 * values["summary"][:, 4] - 1


def huge_values(values, rng):
    values["summary"][:, 6] *= 1e15
    values["summary"][::29, 7] = 1e17


def constant_in_train_only(values, rng):
    values["architecture"][:, 1] = 0.0
    values["architecture"][SIDES == 2, 1] = rng.normal(size=np.sum(SIDES == 2))


def gaps_in_test_only(values, rng):
    values["summary"][np.flatnonzero(SIDES == 2)[:7], 8] = np.nan


def repeated_rows(values, rng):
    rows = np.flatnonzero(SIDES == 0)
    for family in values.values():
        family[rows[50:100]] = family[rows[:50]]


MESSES = [
    gaps, mostly_missing, infinities, constants, rounding_noise, duplicates, huge_values,
    constant_in_train_only, gaps_in_test_only, repeated_rows,
]  # fmt: skip


@pytest.mark.parametrize("messes", [*[[mess] for mess in MESSES], MESSES], ids=lambda ms: (
    ms[0].__name__ if len(ms) == 1 else "all-together"
))  # fmt: skip
def test_messy_data_gives_finite_numbers_and_an_account(
    messes, planted_features, write_dataset, run_pipeline, tmp_path
):
    rng = np.random.default_rng(1)
    values = planted_features(200)
    for mess in messes:
        mess(values, rng)
    out = run_pipeline(
        write_dataset(values, {"side": SIDES}), BOTH, evaluation={"baselines": False},
        split={"column": "metadata/side"}, visualization={"projection": "tsne", "max_points": 60},
    )  # fmt: skip
    metrics = json.loads((out / "metrics.json").read_text())
    for entry in json.loads((out / "training_history.json").read_text()):
        assert all(np.isfinite(v) for v in entry.values() if isinstance(v, float)), entry
    assert np.isfinite(metrics["quality"])
    counts = metrics["cleaning"]["counts_on_train_rows"]
    n_dropped = sum(len(names) for names in metrics["cleaning"]["dropped"].values())
    assert counts["kept"] + n_dropped == 17
    expected = {
        "constant": {
            "architecture/architecture_0": constants,
            "architecture/architecture_1": constant_in_train_only,
            "summary/summary_0": rounding_noise,
        },
        "duplicate": {"summary/summary_5": duplicates},
        "missing": {"summary/summary_3": mostly_missing},
    }
    for reason, columns in expected.items():
        wanted = {name for name, mess in columns.items() if mess in messes}
        assert wanted <= set(metrics["cleaning"]["dropped"][reason])
    assert_account_is_complete(out, metrics["cleaning"])
    if gaps_in_test_only in messes:
        assert metrics["cleaning"]["imputed_cells"]["summary/summary_8"] == 7
        assert "summary/summary_8" not in metrics["cleaning"]["imputed_train_cells"]
    if len(messes) > 1:
        assert_report_tells(out, metrics["cleaning"], tmp_path / "drawn/results/messy")


def assert_account_is_complete(out, cleaning):
    """Compare the account with the subset itself: columns, cells and rows."""
    statistics = read_statistics(out / "feature_statistics.npz")
    with FeatureTable(out / "subset.h5") as table:
        values, split = table.read(), table.split
        names = np.array([column.full_name for column in table.columns])
    reasons = {one.label: names[statistics.reason == one] for one in Reason if one}
    assert cleaning["dropped"] == {name: columns.tolist() for name, columns in reasons.items()}
    kept = statistics.kept
    missing = ~np.isfinite(values[:, kept])
    with np.errstate(invalid="ignore"):
        beyond = (values < statistics.lower) | (values > statistics.upper)
    capped = beyond[:, kept] & ~missing
    for what, cells in (("imputed", missing), ("capped", capped)):
        for prefix, rows in (("", split >= 0), ("train_", split == 0)):
            counts = zip(names[kept], cells[rows].sum(axis=0).tolist(), strict=True)
            told = cleaning[f"{what}_{prefix}cells"]
            assert told == {name: count for name, count in counts if count}
        assert cleaning[f"rows_with_{what}_cells"] == {
            name: int(cells[split == side].any(axis=1).sum())
            for side, name in enumerate(SPLIT_NAMES)
        }


def assert_report_tells(out, cleaning, folder):
    """Look for every dropped, imputed and capped column, and the counts, in the report."""
    files = ("best_model.pt", "subset.h5", "silhouette.csv", "linkage.npz", "metrics.json")
    visualize.run(
        load_experiment(out / "config.yaml"), *[out / name for name in files],
        out / "baselines.csv", out / "tokens.h5", folder / "figures", folder / "report.html",
    )  # fmt: skip
    text = re.sub(r"\s*<[^>]*>\s*", "|", (folder / "report.html").read_text().split("<script")[0])
    for names in cleaning["dropped"].values():
        assert all(f"|{name}|" in text for name in names)
    imputed, capped = cleaning["imputed_cells"], cleaning["capped_cells"]
    assert imputed
    assert capped
    for name in {*imputed, *capped}:
        assert re.search(rf"\|{name}\|+{imputed.get(name, 0)}\|+{capped.get(name, 0)}\|", text)
    for side, count in cleaning["rows_with_imputed_cells"].items():
        assert re.search(rf"\|{side} rows with imputed values\|+{count}\|", text)


def test_values_of_many_decades_come_back_within_one_as_logarithms(
    planted_features, write_dataset, run_pipeline, caplog
):
    raw = planted_features(200)["summary"].astype(np.float64)
    raw = np.sinh(6 * raw / raw.std(axis=0))
    dataset = write_dataset({"summary": raw})
    missed = {}
    for rule in ("cap", "log"):
        caplog.clear()
        out = run_pipeline(
            dataset, {"summary": "MLPEncoder"}, model={"bits": 60, "levels": []},
            feature_cleaning={"outliers": rule}, evaluation={"baselines": False},
        )  # fmt: skip
        assert ("train values are beyond the caps" in caplog.text) is (rule == "cap")
        tokenizer = Tokenizer.load(out / "best_model.pt")
        with FeatureTable(out / "subset.h5") as table:
            values = table.read(table.rows(TEST))
        decoded = tokenizer.decode(tokenizer.encode(values))
        if rule == "cap":
            far = np.abs(values) > tokenizer.statistics.upper
        assert 0.2 < far.mean() < 0.5
        missed[rule] = np.median(np.abs(np.log10(np.abs(values[far] / decoded[far]))))
    assert missed["log"] < 0.5 < missed["cap"]


def test_twelve_rows_and_two_features_work(write_dataset, run_pipeline):
    x = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    out = run_pipeline(
        write_dataset({"summary": x}),
        {"summary": "MLPEncoder"},
        training={"num_categories_auto": None, "min_features_per_category": 1},
        evaluation={"baselines": False},
    )
    model = torch.load(out / "best_model.pt", weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in model["model_state_dict"].values())


def test_every_column_constant_but_one_works(write_dataset, run_pipeline):
    x = np.zeros((60, 4), np.float32)
    x[:, 2] = np.random.default_rng(0).normal(size=60)
    out = run_pipeline(
        write_dataset({"summary": x}),
        {"summary": "IdentityEncoder"},
        training={"num_categories_auto": None},
    )
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["cleaning"]["counts_on_train_rows"]["kept"] == 1
    assert metrics["quality"] > 0.9


def test_all_columns_constant_is_an_error_that_says_so(write_dataset, run_pipeline):
    with pytest.raises(SpinlockError, match="no feature column is left"):
        run_pipeline(write_dataset({"summary": np.ones((30, 3))}), {"summary": "MLPEncoder"})


def test_codebooks_larger_than_the_rows_are_told_and_work(
    planted_features, write_dataset, run_pipeline, caplog
):
    out = run_pipeline(
        write_dataset(planted_features(40)),
        BOTH,
        model={"levels": [{"num_tokens": 64}, {"num_tokens": 8}]},
        evaluation={"baselines": False},
    )
    assert (out / "best_model.pt").is_file()
    assert "64" in caplog.text
    assert "rows" in caplog.text


def test_whole_groups_go_to_one_side(planted_features, write_dataset, run_pipeline):
    groups = np.repeat(np.arange(20), 10)
    dataset = write_dataset(planted_features(200), {"system": groups})
    out = run_pipeline(
        dataset,
        BOTH,
        split={"group_by": "/metadata/system"},
        evaluation={"baselines": False, "probe_column": "metadata/system"},
    )
    import h5py

    with h5py.File(out / "subset.h5") as file:
        sides = {g: set(file["split"][:][groups == g].tolist()) for g in range(20)}
    assert all(len(side) == 1 for side in sides.values())
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["probe"]["nearest"]) == {"features", "tokens", "faiss_rq"}
    for part in ("quality_by_family", "quality_by_category"):
        pooled = [levels["fine"] for levels in metrics[part].values()]
        assert min(pooled) <= metrics["quality"] <= max(pooled)
        assert list(metrics[part][next(iter(metrics[part]))]) == ["coarse", "medium", "fine"]


@pytest.mark.parametrize("initial", ["InitialCNNEncoder", "InitialHybridEncoder"])
def test_all_families_are_read_by_their_encoders(
    planted_features, write_dataset, run_pipeline, initial
):
    rng = np.random.default_rng(2)
    values = planted_features(90)
    phase = rng.uniform(0, 6, size=(90, 1, 2))
    values["temporal"] = np.sin(np.linspace(0, 6, 24)[None, :, None] + phase).astype(np.float32)
    values["temporal"][5, -4:] = np.nan
    values["initial"] = rng.normal(size=(90, 3)).astype(np.float32)
    fields = rng.normal(size=(90, 2, 8, 8)).astype(np.float32)
    out = run_pipeline(
        write_dataset(values, fields=fields),
        {
            "temporal": "TemporalCNNEncoder",
            "initial": initial,
            "architecture": "IdentityEncoder",
            "summary": "MLPEncoder",
        },
        evaluation={"baselines": False},
    )
    assert json.loads((out / "metrics.json").read_text())["quality"] > 0.3
