"""The package as it is imported."""

import subprocess
import sys

import pytest

import spinlock


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"torch", "numpy", "pandas", "h5py", "scipy", "sklearn", "matplotlib"}
    code = f"import sys, spinlock; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_tokenizer_comes_when_it_is_asked_for():
    from spinlock.tokenizer.tokenizer import Tokenizer

    assert spinlock.Tokenizer is Tokenizer
    assert set(spinlock.__all__) == {"Tokenizer", "__version__"}
    with pytest.raises(AttributeError, match="Tokeniser"):
        spinlock.Tokeniser  # noqa: B018
