"""What code a module runs: its first-party imports, and a digest of them."""

import ast
import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "spinlock"
ROOT = Path(__file__).parent
# settings are tracked by the values they resolve to; the others write no result
NOT_FOLLOWED = (
    "spinlock.settings",
    "spinlock.errors",
    "spinlock.termination",
    "spinlock.progress",
)


def source_closure(module: str) -> dict[str, Path]:
    """Return the first-party modules that `module` imports, directly or not, with itself.

    Imports inside functions count. Settings are left out, on whose values results depend, and
    what tells users of mistakes and progress.
    """
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = None if name in found or name.startswith(NOT_FOLLOWED) else _path_of(name)
        if path is None:
            continue
        found[name] = path
        if name != PACKAGE:  # its public class is imported lazily, by users of the package only
            waiting += _module(path).imports
    return dict(sorted(found.items()))


@cache
def source_digest(module: str) -> str:
    """Return a digest of the code of `source_closure`, blind to comments and docstrings.

    What lies in folders of its packages, as templates do, counts byte by byte.
    """
    digest = hashlib.sha256()
    for name, path in source_closure(module).items():
        digest.update(f"{name} {_module(path).digest}\n".encode())
        for data in _data_of(path):
            content = hashlib.sha256(data.read_bytes()).hexdigest()
            digest.update(f"{name} {data.name} {content}\n".encode())
    return digest.hexdigest()[:16]


def _data_of(path: Path) -> list[Path]:
    """Return the files in folders without modules of a package; a plain module has none."""
    if path.name != "__init__.py":
        return []
    folders = [
        one
        for one in path.parent.iterdir()
        if one.is_dir() and one.name != "__pycache__" and not (one / "__init__.py").is_file()
    ]
    return sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())


@cache
def _path_of(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    place = ROOT.joinpath(*parts[1:])
    candidates = [place / "__init__.py", place.with_suffix(".py")]
    return next((path for path in candidates if path.is_file()), None)


class Module(NamedTuple):
    """What is asked of a module: a digest of its code, and the names that it may import."""

    digest: str
    imports: tuple[str, ...]


@cache
def _module(path: Path) -> Module:
    """Read a module; once, since that is slow, as every reading of the workflow notices."""
    with _no_collection():
        tree = ast.parse(path.read_bytes(), str(path))
        statements = list(_statements(tree))
        for node in (tree, *statements):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0] if node.body else None
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    node.body = node.body[1:]
        imports = tuple(name for node in statements for name in _imported(node))
        return Module(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imports)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Give the statements in a module or statement, without looking into expressions."""
    for block in ("body", "handlers", "cases", "orelse", "finalbody"):
        for inner in getattr(node, block, ()):
            yield inner
            yield from _statements(inner)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from looking through a growing tree again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


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
