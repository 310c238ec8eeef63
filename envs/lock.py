"""Write the pins: requirements.lock, what pip resolves; requirements.hashes, the same with hashes.

`python envs/lock.py` resolves anew; `python envs/lock.py hashes` only looks up the hashes of
what requirements.lock names, for example after a line was added to it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ENVS = Path(__file__).parent
PINS, HASHES = ENVS / "requirements.lock", ENVS / "requirements.hashes"
TORCH = "torch==2.13.0"  # one version everywhere: other builds give other bits
HEADER = "# Made by `make lock`; installed by `make setup`.\n"
HASHES_HEADER = """\
# Made by `make lock` or `make hashes` from requirements.lock, with the hashes of every file that
# the index holds of a release; `make setup` installs nothing else.
# torch is the exception: its builds for CPU and for each CUDA are different files, partly on
# other indexes, and bring different packages of their own. It is pinned by its version alone.
"""


def main() -> None:
    """Resolve in a temporary environment, freeze it, and look up the hashes."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        if sys.argv[1:] != ["hashes"]:
            _write_pins(folder)
        _write_hashes(folder)


def _write_pins(environment: str) -> None:
    pip = [f"{environment}/bin/python", "-m", "pip"]
    package = f"{ENVS.parent}[bench,dev,export,slurm]"
    subprocess.run([*pip, "install", "--quiet", TORCH, package], check=True)
    freeze = [*pip, "freeze", "--exclude", "spinlock"]
    frozen = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    pinned = [line.split("+")[0] if line.startswith("torch==") else line for line in frozen.split()]
    PINS.write_text(HEADER + "\n".join(pinned) + "\n", encoding="utf-8")


def _write_hashes(environment: str) -> None:
    python = f"{environment}/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
    pinned = PINS.read_text(encoding="utf-8").splitlines()
    hashed = [line for line in pinned if line != TORCH]
    compile_ = [python, "-m", "uv", "pip", "compile", "-", "--quiet", "--no-deps", "--universal"]
    form = ["--generate-hashes", "--no-header", "--no-annotate", "--python-version", "3.11"]
    found = subprocess.run(
        [*compile_, *form], input="\n".join(hashed), check=True, stdout=subprocess.PIPE, text=True
    )
    HASHES.write_text(HASHES_HEADER + found.stdout, encoding="utf-8")


if __name__ == "__main__":
    main()
