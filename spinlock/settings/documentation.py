"""Templates of settings, made from the settings themselves: every key, what it means.

configs/vqvae/default.yaml for experiments; for simulated operators a block of
docs/dataset-layout.md, since every file of configs/datasets is a dataset.
"""

import textwrap
from typing import Any

import yaml

from spinlock.settings.dataset import OperatorDatasetSettings
from spinlock.settings.experiment import Experiment
from spinlock.settings.families import ENCODER_PARAMS, Family
from spinlock.settings.section import Section

WIDTH = 92
HEADER = """\
# Every option of an experiment, with its default. Copy this file and change what you need;
# keys that you leave out have these values. Made by `make docs` from spinlock/settings.
"""
EXAMPLE = {
    "dataset_path": "datasets/baseline_10k.h5",
    "families": {"architecture": {"encoder": "MLPEncoder"}, "summary": {"encoder": "MLPEncoder"}},
}
EXAMPLE_OPERATORS = 1000  # the one key of a dataset that has no default


def default_yaml() -> str:
    """Return the text of the template configuration."""
    experiment = Experiment.model_validate(EXAMPLE)
    return HEADER + "\n" + "\n".join(_section(experiment, indent=0)) + "\n"


def dataset_yaml() -> str:
    """Return a template of configs/datasets/<name>.yaml."""
    return "\n".join(_section(OperatorDatasetSettings(num_operators=EXAMPLE_OPERATORS), indent=0))


def _section(section: Section, indent: int) -> list[str]:
    lines: list[str] = []
    for key, info in type(section).model_fields.items():
        value = getattr(section, key)
        if key == "families":
            lines += ["", *_comment(str(info.description), indent), *_families(value)]
        elif isinstance(value, Section):
            lines += ["", *_comment(str(info.description), indent), f"{' ' * indent}{key}:"]
            lines += _section(value, indent + 2)
        else:
            lines += [*_comment(str(info.description), indent), _entry(key, value, indent)]
    return lines


def _families(families: dict[str, Family]) -> list[str]:
    lines = ["families:"]
    for name, family in families.items():
        lines += [f"  {name}:"]
        lines += _comment(str(Family.model_fields["encoder"].description), 4)
        lines += [f"    encoder: {family.encoder}", "    encoder_params:"]
        lines += _section(family.encoder_params, 6)
    lines += ["  # parameters of the other encoders"]
    for encoder, params in ENCODER_PARAMS.items():
        if encoder != "MLPEncoder":
            lines += ["  #", f"  # {encoder}"]
            lines += [f"  # {line}" for line in _section(params(), 2)]
    return lines


def _comment(text: str, indent: int) -> list[str]:
    start = " " * indent + "# "
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=start)


def _entry(key: str, value: Any, indent: int) -> str:
    """Return `key: value`, as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000)
    # a plain scalar is dumped with an end of document behind it
    return f"{' ' * indent}{key}: {text.splitlines()[0]}"
