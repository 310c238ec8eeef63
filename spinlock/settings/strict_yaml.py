"""Strict reading of YAML: plain values only, no duplicate keys, bounded size."""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from spinlock.errors import SpinlockError

MAX_BYTES = 100_000


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys, aliases and tags."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        alias, tag = isinstance(event, yaml.AliasEvent), getattr(event, "tag", None)
        if alias or tag is not None:
            problem = "aliases (*name)" if alias else f"tags ({tag})"
            raise yaml.constructor.ConstructorError(
                None, None, f"{problem} are not allowed", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class StrictDumper(yaml.SafeDumper):
    """A safe dumper that quotes text which the strict loader would take for a number."""


# 1e-3 is a number, as in YAML 1.2; YAML 1.1 takes it for text
for _kind in (_StrictLoader, StrictDumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises
    ------
    SpinlockError
        When the file is missing, too large, not text, not YAML, or not a mapping of plain
        values; the message gives the line.
    """
    path = Path(path)
    if os.path.isdir(path):  # noqa: PTH112 - pathlib raises for names that are too long
        raise SpinlockError(
            "this is a folder and no configuration file",
            where=path,
            remedy="give a file, like configs/vqvae/default.yaml",
        )
    try:
        with path.open("rb") as file:  # never more than this, also of a device
            content = file.read(MAX_BYTES + 1)
        text = content[:MAX_BYTES].decode()
    except FileNotFoundError:
        others = [path.with_suffix(suffix) for suffix in (".yaml", ".yml")]
        there = [str(other) for other in others if other.is_file()]
        remedy = (
            f"there is {there[0]}" if there else f"check the path, which starts at {Path.cwd()}"
        )
        raise SpinlockError(
            "there is no such configuration file", where=path, remedy=remedy
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpinlockError(
            f"the file cannot be read: {error}", where=path, remedy="give a text file of YAML"
        ) from error
    if len(content) > MAX_BYTES:
        raise SpinlockError(
            f"the file is larger than {MAX_BYTES:,} bytes",
            where=path,
            remedy="give a file of settings; configs/vqvae/default.yaml shows all of them",
        )
    try:
        values = yaml.load(text, Loader=_StrictLoader)  # nosec B506: a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SpinlockError(
            _yaml_problem(error),
            where=_place(path, error),
            remedy="write plain YAML: spaces for indentation, each key once, no tags or aliases",
        ) from error
    if not isinstance(values, dict):
        raise SpinlockError(
            "the file is not a mapping of settings",
            where=path,
            remedy="write `key: value` lines; configs/vqvae/default.yaml shows all keys",
        )
    return values


def _yaml_problem(error: Exception) -> str:
    problem = getattr(error, "problem", None) or str(error)
    if "'\\t'" in problem:
        return "a tab stands where YAML wants spaces"
    return f"this is not valid YAML: {problem}"


def _place(path: Path, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return str(path) if mark is None else f"{path}, line {mark.line + 1}, column {mark.column + 1}"
