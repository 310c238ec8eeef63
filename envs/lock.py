"""Write requirements.lock: what pip resolves for this project in an empty environment."""

import subprocess
import sys
import tempfile
from pathlib import Path

ENVS = Path(__file__).parent
TORCH = "torch==2.13.0"  # one version everywhere: other builds give other bits
HEADER = "# Made by `make lock`; installed by `make setup`.\n"


def main() -> None:
    """Resolve in a temporary environment, and freeze it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip"]
        package = f"{ENVS.parent}[bench,dev,slurm]"
        subprocess.run([*pip, "install", "--quiet", TORCH, package], check=True)
        freeze = [*pip, "freeze", "--exclude", "spinlock"]
        frozen = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    pinned = [line.split("+")[0] if line.startswith("torch==") else line for line in frozen.split()]
    (ENVS / "requirements.lock").write_text(HEADER + "\n".join(pinned) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
