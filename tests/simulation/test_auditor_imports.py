"""The auditor knows the contract alone, so that a bug of the service is not also one of its judge."""

import ast
from pathlib import Path

import pytest

from tests.simulation import auditor


ALLOWED_PREFIXES = ("tests.simulation.auditor", "tests.simulation.history")


@pytest.mark.parametrize(
    "path", sorted(Path(auditor.__file__).parent.glob("*.py")), ids=lambda path: path.stem
)
def test_a_module_of_the_auditor_imports_the_history_and_the_standard_library(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")

    ours = {name for name in imported if name.startswith(("otp_service", "tests"))}
    assert set() == {name for name in ours if not name.startswith(ALLOWED_PREFIXES)}
