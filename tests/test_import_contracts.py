"""The floor plan holds: also for whoever runs pytest alone."""

import subprocess
import sys
from pathlib import Path


def test_imports_go_down_only() -> None:
    """Layers, strangers on one floor, and a core without machinery (pyproject.toml)."""
    # A process of its own: import-linter configures logging, and so switches off every logger.
    lint = Path(sys.executable).with_name("lint-imports")

    linted = subprocess.run([lint, "--no-cache"], capture_output=True, text=True, check=False)

    assert 0 == linted.returncode, linted.stdout
