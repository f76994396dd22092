"""The checks of names and prose find what they are for, and the tree passes them."""

from pathlib import Path

import pytest

from tests.conventions.__main__ import list_prose_files, main
from tests.conventions.naming import (
    NamingShares,
    find_constant_errors,
    find_module_errors,
    find_share_errors,
    measure_names,
)
from tests.conventions.prose import find_prose_errors


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An empty package."""
    folder = tmp_path / "package"
    folder.mkdir()
    return folder


def test_the_tree_keeps_the_conventions(capsys: pytest.CaptureFixture[str]) -> None:
    """Names, constants, modules and prose, as `make check` runs them."""
    assert 0 == main([]), capsys.readouterr().out


def test_every_kind_of_prose_file_is_checked() -> None:
    """Python, Lua, HTML and the pages in Markdown."""
    checked = {path.suffix for path in list_prose_files()}

    assert {".py", ".lua", ".html", ".md"} == checked


def test_functions_count_by_their_first_word(package: Path) -> None:
    """Properties and dunder methods do not count."""
    (package / "names.py").write_text(
        "def find_it(): ...\n"
        "def known(): ...\n"
        "def _told(): ...\n"
        "class Thing:\n"
        "    def __init__(self): ...\n"
        "    @property\n"
        "    def size(self): ...\n"
        "    async def is_ready(self): ...\n"
    )

    shares = measure_names(package)

    assert NamingShares(verb_first=0.5, participle_first=0.0) == shares


def test_a_participle_is_no_verb(package: Path) -> None:
    """`rejected` says neither who rejects nor what."""
    (package / "names.py").write_text("def rejected(): ...\ndef find_it(): ...\n")

    shares = measure_names(package)

    assert NamingShares(verb_first=0.5, participle_first=0.5) == shares
    assert 2 == len([*find_share_errors(shares)])


@pytest.mark.parametrize("name", ["sealing", "archived"])
def test_a_module_named_for_an_action_is_an_error(package: Path, name: str) -> None:
    """It is named for what it holds."""
    (package / f"{name}.py").write_text("")

    (error,) = find_module_errors(package)

    assert error.startswith(f"{package}/{name}.py:1: ")


def test_two_modules_of_one_name_are_an_error(package: Path) -> None:
    """Unless they are in the list of those that mean the same thing."""
    for folder in ("one", "two"):
        (package / folder).mkdir()
        (package / folder / "limits.py").write_text("")

    (error,) = find_module_errors(package)

    assert "two/limits.py:1: " in error


@pytest.mark.parametrize("line", ["MOST = 5\n", "_MOST: int = 5\n"])
def test_a_constant_of_one_word_is_an_error(package: Path, line: str) -> None:
    """A number without a noun and a unit has to be guessed."""
    (package / "constants.py").write_text(line + "MAX_REASON_CHARS = 5\n")

    (error,) = find_constant_errors(package)

    assert "MOST: give the constant" in error


@pytest.mark.parametrize(
    "line",
    [
        '"""Whoever comes too late adds again."""\n',
        "count = 1  # nobody else has it\n",
        'raise ValueError("this address is none of ours")\n',
        'text = """One.\n\nIt stands in the record."""\n',
    ],
)
def test_forbidden_words_are_found_in_prose(package: Path, line: str) -> None:
    """In docstrings, comments and messages, on the line where they are."""
    path = package / "prose.py"
    path.write_text(line)

    (error,) = find_prose_errors([path])

    assert error.startswith(f"{path}:{3 if 'One.' in line else 1}: ")


def test_names_and_short_strings_are_no_prose(package: Path) -> None:
    """An identifier, a key and a format may hold any word."""
    path = package / "code.py"
    path.write_text('nobody = fields["told"] or "%s stands"\n')

    assert [] == [*find_prose_errors([path])]


@pytest.mark.parametrize("suffix", ["md", "html"])
def test_pages_are_prose_as_a_whole(package: Path, suffix: str) -> None:
    """With the line of the word."""
    path = package / f"page.{suffix}"
    path.write_text("# Page\n\nIt is told anew.\n")

    errors = [*find_prose_errors([path])]

    assert 2 == len(errors)
    assert all(error.startswith(f"{path}:3: ") for error in errors)


def test_only_comments_of_lua_are_prose(package: Path) -> None:
    """Its variables are names."""
    path = package / "script.lua"
    path.write_text("local told = 1\n-- told of the bucket\n")

    (error,) = find_prose_errors([path])

    assert error.startswith(f"{path}:2: ")
