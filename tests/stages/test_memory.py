"""A stage that runs out of memory says which settings to lower, and those settings exist."""

import inspect
import re
from importlib import import_module

import pytest

from spinlock.errors import SpinlockError
from spinlock.settings import Experiment, OperatorDatasetSettings

# a call that each stage makes before it has written anything
FIRST_CALLS = {
    "generate": "load_dataset_settings", "subset": "experiment_of", "normalize": "experiment_of",
    "cluster": "experiment_of", "train": "experiment_of", "evaluate": "experiment_of",
    "encode": "choose_device", "decode": "Tokenizer", "visualize": "experiment_of",
}  # fmt: skip
EXAMPLE = Experiment(dataset_path="data.h5", families={"summary": {}})
KEYS = {
    *OperatorDatasetSettings.model_fields, *Experiment.model_fields,
    *[
        f"{section}.{key}"
        for section, values in EXAMPLE.model_dump().items() if isinstance(values, dict)
        for key in values
    ],
}  # fmt: skip


@pytest.mark.parametrize(("stage", "first_call"), FIRST_CALLS.items())
def test_lack_of_memory_names_settings_that_there_are(stage, first_call, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise MemoryError

    package = "commands" if stage == "decode" else "stages"
    module = import_module(f"spinlock.{package}.{stage}")
    target = module.Tokenizer if first_call == "Tokenizer" else module
    monkeypatch.setattr(target, "load" if target is not module else first_call, fail)
    required = [
        tmp_path / f"{name}.csv"
        for name, one in inspect.signature(module.run).parameters.items()
        if one.default is inspect.Parameter.empty
    ]
    with pytest.raises(SpinlockError, match=f"not enough memory to {stage}") as caught:
        module.run(*required)
    named = re.findall(r"\b[a-z]+(?:\.[a-z]|_)[a-z_]+\b|\bdevice\b|\bsteps\b", caught.value.remedy)
    assert set(named) <= KEYS
    assert named or stage == "decode", "decoding has no settings"
    assert not list(tmp_path.iterdir())
