"""Statistics that are fitted on train rows alone, and warnings of what they show."""

import h5py
import numpy as np
import pytest

from spinlock.features.split import TEST, VALIDATION
from spinlock.features.table import FeatureTable
from spinlock.results.training_files import read_statistics
from spinlock.settings import Experiment
from spinlock.stages import normalize, subset
from spinlock.tokenizer.normalization.statistics import Reason


def test_rows_that_do_not_train_never_influence_the_fit(finished, tmp_path):
    changed = tmp_path / "subset.h5"
    changed.write_bytes(finished.path("subset.h5").read_bytes())
    with h5py.File(changed, "a") as file:
        split, values = file["split"][:], file["values"][:]
        values[np.isin(split, [VALIDATION, TEST])] = 1e30
        file["values"][:] = values
    normalize.run(finished.experiment, changed, tmp_path / "out.npz")
    expected = finished.path("feature_statistics.npz").read_bytes()
    assert (tmp_path / "out.npz").read_bytes() == expected


def test_coefficients_of_a_series_share_one_scale(finished):
    fitted = read_statistics(finished.path("feature_statistics.npz"))
    with FeatureTable(finished.path("subset.h5")) as table:
        groups = normalize.series_channels(table)
    assert [len(group) for group in groups] == [12, 12]
    for group in groups:
        kept = np.intersect1d(group, fitted.kept)
        assert len(kept) > 1
        assert len(np.unique(fitted.scale[kept])) == 1


@pytest.fixture
def normalized(tmp_path, write_dataset):
    """Return what makes the statistics of columns [n, D] by the stages subset and normalize."""

    def make(values):
        dataset, table = write_dataset({"summary": values}), tmp_path / "subset.h5"
        experiment = Experiment.model_validate(
            {"dataset_path": str(dataset), "families": {"summary": {}}}
        )
        subset.run(experiment, [dataset], table)
        normalize.run(experiment, table, tmp_path / "statistics.npz")
        return read_statistics(tmp_path / "statistics.npz")

    return make


def test_many_values_beyond_the_caps_are_told(normalized, caplog):
    values = np.random.default_rng(0).normal(size=(300, 4))
    normalized(values)
    assert "beyond the caps" not in caplog.text
    values[:, 1:] = np.exp(2 * values[:, 1:])
    statistics = normalized(values)
    share = statistics.capped / 240
    assert (
        f"{share.mean():.0%}".replace("%", " %") + " of the train values are beyond the caps"
        in caplog.text
    )
    most = share.argmax()
    assert f"(most: summary/summary_{most} {share[most]:.0%}, " in caplog.text
    assert "summary_0" not in caplog.text


def test_columns_that_vary_little_beside_their_offset_are_told_and_noise_is_not(normalized, caplog):
    values = np.random.default_rng(0).normal(size=(300, 4))
    values[:, 1] = 1.7e9 + np.arange(300)
    values[:, 2] = 0.1 + np.spacing(0.1) * (np.arange(300) % 3)
    statistics = normalized(values)
    assert statistics.reason.tolist() == [
        Reason.KEPT,
        Reason.NEARLY_CONSTANT,
        Reason.CONSTANT,
        Reason.KEPT,
    ]
    assert "1 features take many values" in caplog.text
    assert "dropped: summary/summary_1; take" in caplog.text
