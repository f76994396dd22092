"""The steps of cli/README.md: the command that it shows is added to a copy of the package."""

import json
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


RUN_COMMANDS = """
import contextlib, io, json, sys
from otp_service.cli import main

def run(arguments):
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code
    return code, output.getvalue()

print(json.dumps([run(arguments) for arguments in json.load(sys.stdin)]))
"""


def run_copy(copy: Path, *commands: list[str]) -> list[tuple[int, str]]:
    """Run commands of the copy in one process; return their exit codes and outputs."""
    ended = subprocess.run(
        [sys.executable, "-c", RUN_COMMANDS],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        input=json.dumps(commands),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [(code, output) for code, output in json.loads(ended.stdout)]


def test_a_command_is_one_module_and_one_row(copy):
    """It is listed, explains itself, runs, and reports an error as the others do."""
    (_, listed), (code, explained), shown, (refused, error) = run_copy(
        copy, ["--help"], ["phone", "--help"], ["phone", "+447400123456"], ["phone", "07400"]
    )

    assert re.search(r"^ +phone +show the country of a number$", listed, re.MULTILINE)
    assert (0, True) == (code, "examples:\n  otp-service phone" in explained), explained
    assert (0, "GB\n") == shown
    assert (1, "otp-service: ") == (refused, error[:13]), error


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
