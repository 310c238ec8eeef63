"""Which code a stage runs: what it imports counts, what it merely stands beside does not."""

from pathlib import Path

import pytest

from spinlock import source
from spinlock.source import source_closure, source_digest

STAGES = sorted(
    f"spinlock.stages.{path.stem}"
    for path in (source.ROOT / "stages").glob("*.py")
    if path.stem != "__init__"
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `spinlock` of a few lines, in place of the real one."""
    files = {
        "__init__.py": "",
        "grain.py": "class Grain:\n    pass\n",
        "errors.py": "class Problem(Exception):\n    pass\n",
        "stages/__init__.py": "",
        "stages/one.py": "from spinlock.tools.saw import cut\n\n\ndef run():\n    return cut(1)\n",
        "tools/__init__.py": "",
        "tools/saw.py": '"""Saws."""\nfrom spinlock import errors, grain\n\n\n'
        "def cut(x):\n    return x\n",
        "tools/lazy.py": "",
        "tools/other.py": "",
        "settings/__init__.py": "from spinlock.tools import other\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(source, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for cached in (source_digest, source._path_of, source._module):
        cached.cache_clear()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    forget()


def test_closure_follows_imports_of_imports(package):
    closure = source_closure("spinlock.stages.one")
    assert list(closure) == [
        "spinlock",
        "spinlock.grain",
        "spinlock.stages.one",
        "spinlock.tools",
        "spinlock.tools.saw",
    ]
    assert closure["spinlock.tools.saw"] == package / "tools" / "saw.py"
    assert closure["spinlock.tools"] == package / "tools" / "__init__.py"


@pytest.mark.parametrize(
    "statement",
    [
        "import spinlock.tools.lazy",
        "import spinlock.tools.lazy as later",
        "from spinlock.tools import lazy",
        "from spinlock.tools.lazy import anything",
    ],
)
def test_every_way_to_import_counts_also_inside_a_function(package, statement):
    edit(package / "stages" / "one.py", "return cut(1)", f"{statement}; return cut(1)")
    assert "spinlock.tools.lazy" in source_closure("spinlock.stages.one")


@pytest.mark.parametrize(
    "block",
    [
        "try: {0}\nexcept OSError: pass",
        "try: pass\nexcept OSError: {0}",
        "try: pass\nexcept OSError: pass\nelse: {0}",
        "try: pass\nfinally: {0}",
        "if run: pass\nelif cut: {0}",
        "for _ in (): pass\nelse: {0}",
        "with run: {0}",
        "match run:\n    case 1: {0}",
        "class Later:\n    async def run(self): {0}",
    ],
)
def test_an_import_counts_in_every_kind_of_block(package, block):
    text = block.format("import spinlock.tools.lazy")
    edit(package / "stages" / "one.py", "return cut(1)\n", f"return cut(1)\n\n\n{text}\n")
    assert "spinlock.tools.lazy" in source_closure("spinlock.stages.one")


def test_files_that_a_package_of_the_closure_brings_count(package):
    digests = []
    for folder, text in [("tools/forms", ""), ("tools/forms", "x"), ("settings/forms", "y")]:
        (package / folder).mkdir(exist_ok=True)
        (package / folder / "page.html").write_text(text, encoding="utf-8")
        forget()
        digests.append(source_digest("spinlock.stages.one"))
    assert digests[0] != digests[1] == digests[2]


def test_a_circle_of_imports_ends(package):
    edit(package / "grain.py", "class", "import spinlock.tools.saw\nclass")
    assert "spinlock.grain" in source_closure("spinlock.stages.one")


def test_settings_and_what_they_import_are_left_out(package):
    edit(package / "stages" / "one.py", "def run", "from spinlock.settings import x\n\n\ndef run")
    closure = source_closure("spinlock.stages.one")
    assert "spinlock.tools.other" not in closure
    assert not any(name.startswith("spinlock.settings") for name in closure)


def test_other_packages_and_modules_that_are_not_there_are_left_out(package):
    edit(
        package / "stages" / "one.py",
        "def run",
        "import numpy\nimport spinlock_other\nfrom . import near\nimport spinlock.gone\n\ndef run",
    )
    assert len(source_closure("spinlock.stages.one")) == 5
    assert source_closure("numpy") == source_closure("spinlock.gone") == {}


def test_what_the_package_offers_lazily_is_nobodys_code(package):
    (package / "__init__.py").write_text(
        "def __getattr__(name):\n    from spinlock.tools.other import Public\n    return Public\n",
        encoding="utf-8",
    )
    forget()
    assert "spinlock.tools.other" not in source_closure("spinlock.stages.one")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tools/saw.py", "return x", "return x + 1"),
        ("grain.py", "Grain", "Fibre"),
        ("tools/__init__.py", "", "import spinlock.tools.other"),
        ("stages/one.py", "cut(1)", "cut('1')"),
    ],
)
def test_digest_changes_with_any_code_of_the_closure(package, file, old, new):
    before = source_digest("spinlock.stages.one")
    edit(package / file, old, new)
    assert source_digest("spinlock.stages.one") != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tools/saw.py", '"""Saws."""', '"""Saws and other\ntools."""'),
        ("tools/saw.py", "def cut(x):", "def cut(x):  # with care"),
        ("tools/saw.py", "def cut(x):", 'def cut(x):\n    """Cut."""\n'),
        ("grain.py", "pass", '"""Of wood."""\n    pass'),
        ("errors.py", "Problem", "Trouble"),
        ("tools/other.py", "", "1 / 0"),
        ("settings/__init__.py", "from spinlock.tools import other", "x = 1"),
    ],
)
def test_digest_is_blind_to_comments_docstrings_and_other_code(package, file, old, new):
    before = source_digest("spinlock.stages.one")
    edit(package / file, old, new)
    assert source_digest("spinlock.stages.one") == before


def test_digest_needs_no_absolute_path(package, tmp_path_factory, monkeypatch):
    before = source_digest("spinlock.stages.one")
    moved = tmp_path_factory.mktemp("elsewhere") / "spinlock"
    package.rename(moved)
    monkeypatch.setattr(source, "ROOT", moved)
    forget()
    assert source_digest("spinlock.stages.one") == before
    moved.rename(package)


@pytest.mark.parametrize("stage", STAGES)
def test_every_real_stage_has_a_digest_of_itself_and_its_imports(stage):
    closure = source_closure(stage)
    assert {stage, "spinlock.program", "spinlock.files"} <= set(closure)
    assert all(path.is_file() for path in closure.values())
    assert len(source_digest(stage)) == 16


@pytest.mark.parametrize("stage", ["generate", "subset", "concatenate"])
def test_simulations_and_subsets_do_not_depend_on_the_tokenizer(stage):
    closure = source_closure(f"spinlock.stages.{stage}")
    assert not [name for name in closure if "tokenizer" in name or "training" in name]


def test_simulations_do_not_depend_on_how_datasets_are_read():
    closure = source_closure("spinlock.stages.generate")
    assert "spinlock.operators.simulation" in closure
    assert not {f"spinlock.features.{name}" for name in ("dataset", "labels", "naming")} & set(
        closure
    )


def test_subsets_do_not_depend_on_what_simulated_operators_are():
    closure = source_closure("spinlock.stages.subset")
    assert not {f"spinlock.operators.{name}" for name in ("design", "simulation")} & set(closure)


def test_training_depends_on_the_tokenizer_and_not_on_drawing():
    closure = source_closure("spinlock.stages.train")
    assert "spinlock.tokenizer.network.quantizer" in closure
    assert not [name for name in closure if "figures" in name or "operators" in name]


@pytest.mark.parametrize(
    "module",
    ["stages.evaluate", "stages.encode", "stages.visualize", "commands.decode", "commands.export"],
)
def test_what_reads_a_model_does_not_depend_on_how_models_are_made(module):
    closure = source_closure(f"spinlock.{module}")
    making = ("tokenizer.start", "training.loop", "categories.clustering", "operators")
    assert not [name for name in closure if any(part in name for part in making)]


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_depends_on_the_code_of_another(stage):
    others = {name for name in source_closure(stage) if name in STAGES}
    assert others == {stage}
