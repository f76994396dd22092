"""The commands of docs/authenticators.md work as printed, against `otp-service dev`.

They run in one shell, in the order of the page. What the page shows of an answer is compared; `…`
stands for any text. pyotp is the app.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyotp
import pytest

from tests.processes import run_dev


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing"),
]

PAGE = Path(__file__).parents[1] / "docs" / "authenticators.md"
END_OF_OUTPUT = "--end-of-output--"
PERIOD_SECONDS = 30


class Example(NamedTuple):
    command: str
    output: str
    """Without line breaks; empty if the page shows none."""


def read_examples(text: str) -> list[Example]:
    """Return the commands of a page and what it shows of their output."""
    examples = []
    for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE):
        for part in re.split(r"^    \$ ", block, flags=re.MULTILINE)[1:]:
            command, *output = re.split(r"(?<!\\)\n", part.replace("\\\n", " "))
            examples.append(Example(command, "".join(line.strip() for line in output)))
    return examples


class Shell:
    """One shell that runs the commands of the page, so that its variables stay."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        """Return what the command prints."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{command}\necho; echo {END_OF_OUTPUT}\n")
        self._process.stdin.flush()
        lines = iter(self._process.stdout.readline, f"{END_OF_OUTPUT}\n")
        return "".join(lines).strip()

    def close(self) -> None:
        self._process.communicate(timeout=30)


class App:
    """The user's app: each code that it shows is that of a step after the last one."""

    def __init__(self, secret: str) -> None:
        self._totp = pyotp.TOTP(secret)
        self._step = int(time.time()) // PERIOD_SECONDS - 1

    def show_code(self) -> str:
        self._step += 1
        return self._totp.generate_otp(self._step)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Return a shell with the variables of the page, next to a running service."""
    with run_dev(tmp_path / "data") as service:
        shell = Shell(tmp_path)
        shell.run(f"OTP=http://127.0.0.1:{service.port} KEY={service.keys['dev']}")
        yield shell
        shell.close()


def test_every_command_of_the_page_prints_what_the_page_shows(shell: Shell) -> None:
    app = None
    shown = 0

    for command, output in read_examples(PAGE.read_text(encoding="utf-8")):
        if command.startswith("OTP="):
            continue
        if command.startswith("CODE="):
            app = app or App(shell.run("echo $SECRET"))
            shell.run(f"CODE={app.show_code()}")
            continue
        printed = shell.run(command)
        if command.startswith("call authenticators '"):
            shell.run("SECRET=$(member secret)")
        pattern = ".*".join(map(re.escape, output.split("…")))
        assert re.fullmatch(pattern, printed), f"{command}\n{printed}"
        shown += bool(output)

    assert 7 <= shown
