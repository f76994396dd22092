"""What commands share at the terminal: their help, numbers that are typed in, tables, progress."""

import argparse
import io
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from otp_service.core.errors import InvalidPhoneNumber, NumberNotAllowed


Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
"""The only name that argparse has for it."""

PROMPT = "Number, like +447400123456 (an empty line ends the list): "

Run = Callable[[argparse.Namespace], int]


def command(  # noqa: PLR0913  # what every command says of itself
    subparsers: Subparsers,
    name: str,
    run: Run,
    *,
    brief: str,
    about: str,
    examples: Sequence[str],
) -> argparse.ArgumentParser:
    """Add a command; its help is laid out here, so that all of them look alike."""
    parser = subparsers.add_parser(
        name,
        help=brief,
        description="\n\n".join(textwrap.fill(part, 78) for part in about.split("\n\n")),
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def read_lines() -> Iterator[tuple[int, str]]:
    """Give the lines of standard input with their places; a person is asked for each."""
    source = sys.stdin or io.StringIO()  # None if it was closed
    asks = source.isatty()
    for place, line in enumerate(_asked() if asks else source, start=1):
        if line.strip():
            yield place, line.strip()
        elif asks:
            return


def _asked() -> Iterator[str]:
    while True:
        print(PROMPT, end="", file=sys.stderr, flush=True)
        yield sys.stdin.readline()


def remedy(error: InvalidPhoneNumber | NumberNotAllowed) -> str:
    """Return what is wrong with a line; the line itself may be somebody's number."""
    if isinstance(error, NumberNotAllowed):
        return "this kind of number takes no SMS."
    return "this is no valid number in strict E.164 form, like +447400123456."


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows in columns; the first holds the titles."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give what tells how far something is; it is shown to a person only, on standard error."""
    shows = sys.stderr.isatty()

    def tell(done: int, of: int) -> None:
        if shows:
            print(f"\r{what}: {done:,} of {of:,}", end="", file=sys.stderr, flush=True)

    yield tell
    if shows:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def listed(findings: Sequence[object]) -> str:
    """Return findings one a line, indented."""
    return "\n".join(f"  {finding}" for finding in findings)
