"""A discrete vocabulary of behaviour for simulated operators."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinlock.tokenizer.tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = ["Tokenizer", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the public class when it is first asked for: torch is slow to load."""
    if name == "Tokenizer":
        from spinlock.tokenizer.tokenizer import Tokenizer

        return Tokenizer
    raise AttributeError(f"module 'spinlock' has no attribute {name!r}")
