"""Models of other settings than the experiment's are refused."""

import pytest

from spinlock.errors import SpinlockError
from spinlock.results.model_settings import require_own_model
from spinlock.stages import encode, evaluate, visualize
from spinlock.tokenizer.checkpoint import Checkpoint


def test_later_stages_refuse_a_model_of_other_settings(finished, tmp_path):
    experiment, model = finished.experiment, finished.path("best_model.pt")
    config = Checkpoint.load(model).config
    require_own_model(experiment, config, model)
    longer = experiment.training.model_copy(update={"num_epochs": 50, "save_every": 3})
    require_own_model(experiment.model_copy(update={"training": longer}), config, model)
    other = experiment.model_copy(
        update={
            "model": experiment.model.model_copy(update={"bits": 77}),
            "training": experiment.training.model_copy(update={"learning_rate": 0.5}),
            "random_seed": 3,
        }
    )
    where = [finished.path("subset.h5"), tmp_path / "a", tmp_path / "b"]
    for run_stage in (
        lambda: evaluate.run(other, model, *where),
        lambda: encode.run(model, [finished.dataset], tmp_path / "t.h5", config=other),
        lambda: visualize.run(other, model, *[tmp_path / "unread"] * 8),
    ):
        with pytest.raises(SpinlockError, match="trained with another") as caught:
            run_stage()
        for name in ("random_seed", "model.bits", "training.learning_rate"):
            assert name in caught.value.problem
        assert caught.value.where == model
    assert list(tmp_path.iterdir()) == []
