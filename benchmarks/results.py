"""results.json, and the Markdown that is made from it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measurement import Result
from spinlock.files import write_text

INTRODUCTION = """\
# Benchmarks

Made by `make bench` from `results.json`. `ratio` says how many times better ours is than the
reference, whatever the unit: above 1 is better. Programs that are compared were run in turn, in
one session, so ratios hold on a busy machine where single times do not.
"""


def record(results: Mapping[str, Result], machine: Mapping[str, str], folder: Path) -> None:
    """Put results among those that are there already, and write the Markdown anew."""
    path = folder / "results.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known |= {name: entry(result, machine) for name, result in results.items()}
    write_text(path, json.dumps(known, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "results.md", as_markdown(known))


def entry(result: Result, machine: Mapping[str, str]) -> dict[str, Any]:
    """Return a result as it stands in results.json."""
    values = asdict(result)
    del values["higher_is_better"]
    return values | {
        "ratio": result.ratio,
        "conditions": {"measured": result.conditions, "machine": dict(machine)},
    }


def as_markdown(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of the results, what they were measured on, and their conditions."""
    lines = [
        INTRODUCTION,
        "| benchmark | ours | reference | unit | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, one in entries.items():
        numbers = f"{one['ours']:.4g} | {one['reference']:.4g} | {one['unit']}"
        lines.append(f"| {name} | {numbers} | {one['ratio']:.2f} |")
    lines += ["", "## Conditions", ""]
    lines += [f"- **{name}**: {one['conditions']['measured']}" for name, one in entries.items()]
    lines += ["", "## Machines", ""]
    machines: dict[str, list[str]] = {}
    for name, one in entries.items():
        text = ", ".join(f"{key} {value}" for key, value in one["conditions"]["machine"].items())
        machines.setdefault(text, []).append(name)
    for text, names in machines.items():
        of = "all" if len(machines) == 1 else ", ".join(names)
        lines.append(f"- {text} ({of})")
    return "\n".join(lines) + "\n"
