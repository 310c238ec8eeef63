"""How far a long stage is: a bar on a terminal, and nothing in a log."""

from rich.console import Console
from rich.progress import Progress, ProgressColumn


def progress_bar(*columns: ProgressColumn, shown: bool = True) -> Progress:
    """Return a progress display on standard error, with rich's usual columns by default."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not (shown and console.is_terminal))
