"""What `make setup` installs is pinned, and checked by hashes."""

import re
from pathlib import Path

ENVS = Path(__file__).parents[1] / "envs"
PINNED = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Return package → version of a file, with names as the index normalises them."""
    found = PINNED.findall((ENVS / name).read_text())
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


def test_every_pinned_package_but_torch_has_its_hashes():
    pinned = pins("requirements.lock")
    assert pinned.pop("torch").split(".")[0] == "2"
    assert pins("requirements.hashes") == pinned, "run `make hashes`"


def test_every_entry_of_the_hashed_file_has_a_hash():
    text = (ENVS / "requirements.hashes").read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_nothing_is_installed_from_an_address_or_a_folder():
    for name in ("requirements.lock", "requirements.hashes"):
        lines = (ENVS / name).read_text().splitlines()
        words = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
        assert [w for w in words if not (PINNED.match(w) or w.startswith("--hash="))] == []
