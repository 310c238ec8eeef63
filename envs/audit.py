"""Look for known vulnerabilities of the pinned packages with pip-audit, where it can look.

Without pip-audit, or without a network, this says that nothing was audited and succeeds.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parent / "requirements.lock"
PATIENCE = 120  # seconds


def main() -> int:
    """Print what was found; the status is 1 when a pinned package is vulnerable."""
    program = shutil.which("pip-audit")
    if program is None:
        print("pip-audit: skipped, it is not installed (pip install pip-audit)")
        return 0
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        run = subprocess.run(
            [program, "--requirement", PINS, *options],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        packages = json.loads(run.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print("pip-audit: skipped, its data cannot be reached")
        return 0
    audited = [one for one in packages if "skip_reason" not in one]
    if not audited:
        print("pip-audit: skipped, its data cannot be reached")
        return 0
    vulnerable = [one for one in audited if one["vulns"]]
    for one in vulnerable:
        known = ", ".join(each["id"] for each in one["vulns"])
        print(f"pip-audit: {one['name']} {one['version']}: {known}")
    print(f"pip-audit: {len(audited)} of {len(packages)} packages audited")
    return int(bool(vulnerable))


if __name__ == "__main__":
    sys.exit(main())
