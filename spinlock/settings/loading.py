"""Reading settings files, with one message for all that is wrong in a file."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from spinlock.errors import SpinlockError
from spinlock.settings.dataset import OperatorDatasetSettings
from spinlock.settings.experiment import Experiment
from spinlock.settings.families import ENCODER_PARAMS, Family
from spinlock.settings.strict_yaml import StrictDumper, read_yaml

Settings = TypeVar("Settings", bound=BaseModel)

REMEDIES: dict[type[BaseModel], str] = {
    Experiment: "correct these keys of an experiment, which configs/vqvae/default.yaml explains",
    OperatorDatasetSettings: "correct these keys of a dataset, as configs/datasets has them",
}
OTHERS: dict[type[BaseModel], tuple[type[BaseModel], str]] = {  # what else a file may be meant for
    Experiment: (
        OperatorDatasetSettings,
        "datasets that are to be simulated are for `spinlock generate`",
    ),
    OperatorDatasetSettings: (
        Experiment,
        "experiments (configs/vqvae) are for `spinlock train-vqvae`",
    ),
}
RENAMED = {
    "extra_forbidden": "unknown key",
    "missing": "this key is required",
    "dict_type": "`key: value` lines belong here",
}


def load_experiment(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Read the settings of an experiment.

    Parameters
    ----------
    path : path
        A file of configs/vqvae.
    overrides : mapping, optional
        Dotted key → value, such as {"training.num_epochs": 3}.

    Raises
    ------
    SpinlockError
        When anything in the file is wrong; the message names all of it.
    """
    values = read_yaml(path)
    for key, value in (overrides or {}).items():
        *sections, name = key.split(".")
        place: Any = values
        for section in sections:
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
            if not isinstance(place, dict):  # a mistake of the file, which is told below
                break
        else:
            place[name] = value
    return _validated(Experiment, values, path, overrides or {})


def load_dataset_settings(path: str | Path) -> OperatorDatasetSettings:
    """Read the settings of a dataset that is to be simulated, a file of configs/datasets.

    Raises
    ------
    SpinlockError
        When anything in the file is wrong.
    """
    return _validated(OperatorDatasetSettings, read_yaml(path), path)


def to_yaml(settings: BaseModel) -> str:
    """Return settings as YAML that reads back as the same settings."""
    values = settings.model_dump(mode="json")
    return yaml.dump(values, Dumper=StrictDumper, sort_keys=False, allow_unicode=True)


def _validated(
    kind: type[Settings],
    values: dict[str, Any],
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        keys = [_key(one, values) for one in errors]
        # a union complains about each of its branches: what lies deeper says it better
        above = {tuple(key[:depth]) for key in keys for depth in range(len(key))}
        problems = [
            _problem(kind, one, key, values)
            for one, key in zip(errors, keys, strict=True)
            if tuple(key) not in above
        ]
        if {".".join(map(str, key)) for key in keys} <= (overrides or {}).keys():
            where, remedy = f"the command line, beside {path}", "correct these options"
            raise SpinlockError(_told(problems), where=where, remedy=remedy) from None
        raise SpinlockError(_told(problems), where=path, remedy=_remedy(kind, values)) from None


def _remedy(kind: type[BaseModel], values: Mapping[str, Any]) -> str:
    """Return what to do, also where the keys are those of another kind of file."""
    other, what = OTHERS[kind]
    of_the_other = values.keys() & (other.model_fields.keys() - kind.model_fields.keys())
    return f"{REMEDIES[kind]}; {what}" if of_the_other else REMEDIES[kind]


def _told(problems: Iterable[tuple[str, str]]) -> str:
    """Return problems as lines, a hint only after the first that it belongs to."""
    lines, hints = [], {""}
    for text, hint in dict.fromkeys(problems):
        lines.append(text if hint in hints else f"{text}; {hint}")
        hints.add(hint)
    return "\n".join(lines)


def _key(error: Mapping[str, Any], values: Any) -> list[Any]:
    """Return where an error is, without the parts that name a branch of a union."""
    key = []
    for part in error["loc"]:
        given = isinstance(values, dict) and part in values
        if given or not _is_choice(part):
            key.append(part)
            values = _inside(values, part)
    return key


def _inside(values: Any, part: Any) -> Any:
    try:
        return values[part]
    except (LookupError, TypeError):
        return None


def _problem(
    kind: type[BaseModel], error: Mapping[str, Any], location: list[Any], values: dict[str, Any]
) -> tuple[str, str]:
    """Return what is wrong with a key, and a hint at what it may be, "" where there is none."""
    key = ".".join(str(part) for part in location) or "the file"
    message = RENAMED.get(error["type"], error["msg"].removeprefix("Value error, "))
    text = f"{key}: {message}"
    if error["type"] == "extra_forbidden":
        known = _keys_at(kind, location[:-1], values)
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known) or 'none'}"
        return text, hint
    if error["type"] != "missing" and location:
        text += f" (the value is {_shortened(error['input'])})"
    return text, ""


def _is_choice(part: Any) -> bool:
    """Whether a part of a location may name a branch of a union rather than a key."""
    return isinstance(part, str) and ("[" in part or part in {"int", "str", "constrained-int"})


def _keys_at(kind: type[BaseModel], location: Sequence[Any], values: dict[str, Any]) -> list[str]:
    """Return the keys of the section at a location, as far as the models tell."""
    if location and location[-1] == "encoder_params":
        family = reduce(_inside, location[:-1], values)
        encoder = family.get("encoder", Family.model_fields["encoder"].default)
        return list(ENCODER_PARAMS[encoder].model_fields)
    section: Any = kind
    for part in location:
        fields = getattr(section, "model_fields", {})
        if part not in fields:
            # an entry of a mapping or list: go on with what it holds
            section = next(
                (one for one in _models_in(section) if hasattr(one, "model_fields")), None
            )
            continue
        annotation = fields[part].annotation
        models = _models_in(annotation)
        section = models[0] if models else None
    return list(getattr(section, "model_fields", {}))


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for one in get_args(annotation) for model in _models_in(one)]


def _shortened(value: Any, most: int = 60) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python prints no whole number of more than 4300 digits
        text = "too long a number to show"
    return text if len(text) <= most else text[: most - 1] + "…"
