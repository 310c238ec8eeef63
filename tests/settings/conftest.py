"""Settings files in a temporary folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from spinlock.settings import Experiment, load_experiment

GOOD = """\
dataset_path: data.h5
families:
  summary:
    encoder: MLPEncoder
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Return a function that writes a settings file and returns its path."""

    def write_file(content: str | bytes) -> Path:
        path = tmp_path / "experiment.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


@pytest.fixture
def load(write) -> Callable[..., Experiment]:
    """Return a function that reads the smallest experiment plus these top-level settings."""

    def load_text(text: str = "", **settings: object) -> Experiment:
        values = yaml.safe_load(GOOD) | settings
        return load_experiment(write(yaml.safe_dump(values) + text))

    return load_text
