"""What the command line prints: tables and lines for people, JSON for programs."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from spinlock.errors import printable


class _Screen(Console):
    """A console that shows text as it is: names that users give may hold brackets, and orders."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects, and of text what is no order to the terminal."""
        super().print(
            *[printable(one) if isinstance(one, str) else one for one in objects], **options
        )


out = _Screen(markup=False)


def print_json(values: Any) -> None:
    """Print values as JSON, bare: for other programs."""
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


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))
