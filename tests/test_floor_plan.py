"""The floor plan holds: also for whoever runs pytest alone."""

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports


def test_imports_go_down_only() -> None:
    """Layers, strangers on one floor, and a core without machinery (pyproject.toml)."""
    assert EXIT_STATUS_SUCCESS == lint_imports(no_cache=True)
