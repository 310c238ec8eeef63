"""What made a model: versions, seeds, device, digests."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import spinlock
from spinlock.files import file_digest
from spinlock.tokenizer.network.processes import process_count

LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "h5py")


def describe_run(seed: int, device: torch.device) -> dict[str, Any]:
    """Return versions, source revision, seed and device of this run, as plain values."""
    return {
        "spinlock": spinlock.__version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "random_seed": seed,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processes": process_count(),
    }


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of settings, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def files_digest(paths: Sequence[Path]) -> str:
    """Return a digest of the names and bytes of files."""
    return settings_digest({path.name: file_digest(path) for path in paths})


def _git_commit() -> str | None:
    """Return the commit of the checkout that holds the package, None outside one."""
    try:
        answer = subprocess.run(
            # the second name is unknown where another project's checkout is around the package
            ["git", "rev-parse", "HEAD", "HEAD:./__init__.py"],
            cwd=Path(spinlock.__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.split()[0] if answer.returncode == 0 else None
