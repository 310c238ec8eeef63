"""What the command line prints: tables, lines and its log for people, JSON for programs."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Column, Table

from spinlock.errors import listed, printable


class OutputRefused(OSError):
    """Standard output does not take what is printed."""


@contextmanager
def _refusal_told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputRefused(error.errno, error.strerror) from error


class _Screen(Console):
    """A console that shows text as it is: names that users give may hold brackets, and orders."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects, and of text what is no order to the terminal."""
        shown = [printable(one) if isinstance(one, str) else one for one in objects]
        with _refusal_told():
            super().print(*shown, **options)


out = _Screen(markup=False)


def print_json(values: Any) -> None:
    """Print values as JSON, bare: for other programs."""
    with _refusal_told():
        sys.stdout.write(json.dumps(values, indent=2) + "\n")
        sys.stdout.flush()


def print_summary(values: dict[str, Any], as_json: bool) -> None:
    """Print one line for each value, or all as JSON."""
    if as_json:
        print_json(values)
        return
    for name, value in values.items():
        out.print(f"{name}: {value}", highlight=False, soft_wrap=True)


def print_table(columns: list[str], rows: list[list[Any]]) -> None:
    """Print rows of values under the names of their columns; those of rows break last."""
    first, *others = map(printable, columns)
    named = Column(first, overflow="fold", no_wrap=True)
    table = Table(named, *[Column(name, overflow="fold") for name in others])
    for row in rows:
        table.add_row(*[_cell(value) for value in row])
    out.print(table)


def print_dataset(found: dict[str, Any]) -> None:
    """Print what `inspect_dataset` found: a table that 80 columns hold, and lines of the rest."""
    out.print(f"{found['operators']:,} operators")
    shown = [
        "shape",
        "rows_with_gaps",
        "columns_with_gaps",
        "constant_columns",
        "largest_magnitude",
    ]
    families = found["families"]
    rows = [[name, *[one[key] for key in shown]] for name, one in families.items()]
    print_table(["family", *[key.replace("_", " ") for key in shown]], rows)
    for name, one in families.items():
        more = ", …" if len(one["first_names"]) < one["shape"][-1] else ""
        names = ", ".join(one["first_names"])
        line = f"{name}: {one['type']}, {one['megabytes']} MB; {names}{more}"
        out.print(line, highlight=False, soft_wrap=True)
        gaps = [f"{column} ({n:,})" for column, n in one["gaps_by_name"].items()]
        for what, columns in (("gaps", gaps), ("constant", one["names_of_constants"])):
            if columns:
                out.print(f"  {what}: {listed(columns)}", highlight=False, soft_wrap=True)
    out.print(f"initial fields: {found['initial_fields'] or 'none'}")
    labels = [f"/{path} ({n} values)" for path, n in found["labels"].items()]
    out.print(f"labels: {', '.join(labels) or 'none'}", highlight=False)


def print_measured(measured: dict[str, Any]) -> None:
    """Print what the command `evaluate` measured: the targets, baselines, and of which rows."""
    rows = [
        [t["name"], t["value"], f"{'<' if t['below'] else '>'} {t['target']}", t["met"]]
        for t in measured["targets"]
    ]
    print_table(["metric", "value", "target", "met"], rows)
    before = measured["quality_before_caps"]
    if before["pooled"] is not None and before["capped_share"]:
        share = before["capped_share"]
        out.print(f"quality of the values before {share:.1%} were capped: {before['pooled']:.3f}")
    if measured["baselines"]:
        methods = measured["baselines"].items()
        own = ["spinlock", measured["bits"]["nominal"], measured["quality"]]
        others = [[name, one["bits"], one["quality"]] for name, one in methods]
        print_table(["method", "bits", "quality"], [own, *others])
    side = measured["rows"]["measured_on"]
    out.print(f"measured on {measured['rows'][side]} rows ({side})")
    if side not in ("test", "all"):
        out.print(
            f"no test rows were set aside: {side} rows took part in the fit, so this flatters"
        )


def show_log(verbose: bool) -> None:
    """Show warnings on standard error, and with `verbose` what is done."""
    handler = RichHandler(console=Console(stderr=True), show_path=False)
    handler.addFilter(_FirstWarning())
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(message)s", handlers=[handler]
    )


class _FirstWarning(logging.Filter):
    """Let a warning through once: checks and stages open the same dataset one after another."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in self._told
        self._told.add(text)
        return new or record.levelno < logging.WARNING


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))
