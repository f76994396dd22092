"""Prose: words and turns that the rules for comments, docstrings and messages exclude."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests.conventions.words import ALLOWED_PROSE, FORBIDDEN_PROSE


_PATTERNS = [(re.compile(pattern, re.IGNORECASE), advice) for pattern, advice in FORBIDDEN_PROSE]


def find_prose_errors(paths: list[Path]) -> Iterator[str]:
    """Yield each forbidden turn in comments and strings of Python, and in text of other files."""
    for path in paths:
        for line, text in _list_texts(path):
            yield from _check_text(path, line, text)


def _list_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the first line number and the text of each piece of prose."""
    source = path.read_text()
    if path.suffix == ".lua":
        for number, line in enumerate(source.splitlines(), 1):
            if "--" in line:
                yield number, line.partition("--")[2]
    elif path.suffix != ".py":
        yield 1, source
    else:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            # Short strings are identifiers and formats; a message is longer than two words.
            is_message = token.type == tokenize.STRING and token.string.count(" ") > 1
            if token.type == tokenize.COMMENT or is_message:
                yield token.start[0], token.string


def _check_text(path: Path, first_line: int, text: str) -> Iterator[str]:
    for pattern, advice in _PATTERNS:
        for match in pattern.finditer(text):
            line = first_line + text.count("\n", 0, match.start())
            around = " ".join(text[max(0, match.start() - 40) : match.end() + 40].split())
            if any(allowed in around for allowed in ALLOWED_PROSE):
                continue
            yield f"{path}:{line}: {match[0]!r}: {advice}: …{around}…"
