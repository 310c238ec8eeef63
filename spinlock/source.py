"""What code a module runs: its first-party imports, and a digest of them."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "spinlock"
ROOT = Path(__file__).parent
# what settings resolve to is tracked by value, so their code need not be
NOT_FOLLOWED = ("spinlock.settings",)


def source_closure(module: str) -> dict[str, Path]:
    """Return the first-party modules that `module` imports, directly or not, with itself.

    Imports inside functions count. Settings are left out: results depend on their values.
    """
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path_of(name)
        if path is None or name in found or name.startswith(NOT_FOLLOWED):
            continue
        found[name] = path
        if name != PACKAGE:  # its public class is imported lazily, by users of the package only
            waiting += _imports(path)
    return dict(sorted(found.items()))


def source_digest(module: str) -> str:
    """Return a digest of the code of `source_closure`, blind to comments and docstrings."""
    digest = hashlib.sha256()
    for name, path in source_closure(module).items():
        digest.update(f"{name} {_code(path)}\n".encode())
    return digest.hexdigest()[:16]


def _path_of(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    place = ROOT.joinpath(*parts[1:])
    candidates = [place / "__init__.py", place.with_suffix(".py")]
    return next((path for path in candidates if path.is_file()), None)


@cache
def _tree(path: Path) -> ast.Module:
    """Return the syntax of a module without its docstrings; parsed once, since that is slow."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree


@cache
def _imports(path: Path) -> tuple[str, ...]:
    return tuple(name for node in ast.walk(_tree(path)) for name in _imported(node))


def _imported(node: ast.AST) -> Iterator[str]:
    """Give the modules that a statement may import; a name that is no module does no harm."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return
    for name in names:
        parts = name.split(".")
        yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


@cache
def _code(path: Path) -> str:
    return hashlib.sha256(ast.dump(_tree(path)).encode()).hexdigest()
