"""Nothing that is loaded can run code: each call that reads a file forbids it, in so many words."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import spinlock
from spinlock.settings.strict_yaml import _StrictLoader

PACKAGE = Path(spinlock.__file__).parent
# a call that could run what a file holds, and the arguments that forbid it
SAFE_ONLY_WITH = {
    "torch.load": {"weights_only": True},
    "np.load": {"allow_pickle": False},
    "yaml.load": {"Loader": "_StrictLoader"},
}
NEVER = {
    "eval", "exec", "yaml.unsafe_load", "yaml.full_load", "pickle.load",
    "pickle.loads", "pickle.Unpickler", "joblib.load", "pd.read_pickle", "marshal.loads",
    "shelve.open", "os.system", "os.popen",
}  # fmt: skip


def unsafe_calls(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {one.arg: ast.unparse(one.value) for one in node.keywords}
        safe = SAFE_ONLY_WITH.get(name, {})
        if name in NEVER or any(given.get(key) != str(value) for key, value in safe.items()):
            yield ast.unparse(node)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_no_call_can_run_what_a_file_holds(path):
    assert list(unsafe_calls(path.read_text(encoding="utf-8"))) == []


def test_the_loader_of_settings_is_a_safe_one():
    assert issubclass(_StrictLoader, yaml.SafeLoader)


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)",
        "np.load(path, allow_pickle=True)", "eval('1')", "yaml.load(text, Loader)",
        "pickle.loads(content)",
    ],
)  # fmt: skip
def test_calls_that_could_are_found(source):
    assert list(unsafe_calls(source)) == [source]
