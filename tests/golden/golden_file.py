"""Compares a text with its golden file, or rewrites the file."""

import difflib
import os
from pathlib import Path

import pytest


FOLDER = Path(__file__).parent

REWRITE_VARIABLE = "OTP_GOLDEN_WRITE"
IS_REWRITE = os.environ.get(REWRITE_VARIABLE) == "1"
"""Whether the files are written instead of compared."""
REWRITE_COMMAND = f"{REWRITE_VARIABLE}=1 make test ARGS=tests/golden"


def check_golden(name: str, text: str) -> None:
    """Fail with a unified diff unless the golden file `name` contains exactly this text.

    With OTP_GOLDEN_WRITE=1 in the environment the file is written instead.
    """
    path = FOLDER / name
    if IS_REWRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return
    expected = path.read_bytes().decode() if path.exists() else ""
    if text != expected:
        pytest.fail(describe_difference(name, expected, text), pytrace=False)


def describe_difference(name: str, expected: str, actual: str) -> str:
    """Return a unified diff, with the command that accepts the new text."""
    diff = difflib.unified_diff(
        expected.splitlines(),
        actual.splitlines(),
        f"tests/golden/{name}",
        "what the code produces now",
        lineterm="",
    )
    return (
        f"tests/golden/{name} differs from what the code produces.\n"
        f"If the change is intended, rewrite the files and review the diff: {REWRITE_COMMAND}\n\n"
        + "\n".join(diff)
    )


def format_sections(sections: list[tuple[str, str]]) -> str:
    """Return texts one after another, each under its title."""
    return "\n".join(f"==== {title}\n{text.rstrip()}\n" for title, text in sections)
