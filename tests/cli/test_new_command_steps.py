"""The steps of cli/README.md: the command that it shows is added to a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import otp_service
from otp_service.cli import COMMAND_MODULES, _build_parser


pytestmark = pytest.mark.slow

PACKAGE = Path(otp_service.__file__).parent
CODE_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def module_text() -> str:
    """The module that step 3 shows."""
    (block,) = CODE_BLOCK.findall((PACKAGE / "cli" / "README.md").read_text())
    return textwrap.dedent(f"   {block.strip()}\n")


@pytest.fixture
def copy(tmp_path, module_text) -> Path:
    """A folder with the package, a new module in cli/ and one more row in COMMAND_MODULES."""
    cli = tmp_path / "otp_service" / "cli"
    shutil.copytree(PACKAGE, cli.parent, ignore=shutil.ignore_patterns("__pycache__"))
    (cli / "phone.py").write_text(module_text)
    text = (cli / "__init__.py").read_text()
    assert "COMMAND_MODULES = {\n" in text
    row = 'COMMAND_MODULES = {\n    "phone": "phone",\n'
    (cli / "__init__.py").write_text(text.replace("COMMAND_MODULES = {\n", row))
    return tmp_path


def run_copy(copy: Path, *arguments: str) -> tuple[int, str]:
    """Run a command of the copy; return its exit code and its output."""
    ended = subprocess.run(
        [sys.executable, "-m", "otp_service", *arguments],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def test_a_command_is_one_module_and_one_row(copy):
    """It is listed, explains itself, runs, and reports an error as the others do."""
    _, listed = run_copy(copy, "--help")
    code, explained = run_copy(copy, "phone", "--help")

    assert re.search(r"^ +phone +show the country of a number$", listed, re.MULTILINE)
    assert (0, True) == (code, "examples:\n  otp-service phone" in explained), explained
    assert (0, "GB\n") == run_copy(copy, "phone", "+447400123456")
    code, error = run_copy(copy, "phone", "07400")
    assert (1, "otp-service: ") == (code, error[:13]), error


def test_the_module_that_the_readme_shows_passes_the_linter(module_text):
    """Formatted, and without a finding of ruff."""
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check"], ["format", "--diff"]):
        ended = subprocess.run(
            [ruff, *command, "--stdin-filename", PACKAGE / "cli" / "phone.py", "-"],
            input=module_text,
            capture_output=True,
            text=True,
            check=False,
            cwd=PACKAGE.parent,
        )

        assert 0 == ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("command", COMMAND_MODULES)
def test_the_module_of_a_command_registers_it(command):
    """The parser that is built for a call of the command has it; no other module is asked."""
    (action,) = _build_parser([command])._subparsers._group_actions

    assert command in action.choices
    assert {COMMAND_MODULES[name] for name in action.choices} == {COMMAND_MODULES[command]}
