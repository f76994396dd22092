"""The import contracts hold, also in a run of pytest without `make check`."""

import subprocess
import sys
from pathlib import Path


def test_imports_follow_the_contracts() -> None:
    """Layers, independent packages, and a core without infrastructure (pyproject.toml)."""
    # A separate process: import-linter configures logging and disables every other logger.
    lint = Path(sys.executable).with_name("lint-imports")

    result = subprocess.run([lint, "--no-cache"], capture_output=True, text=True, check=False)

    assert 0 == result.returncode, result.stdout
