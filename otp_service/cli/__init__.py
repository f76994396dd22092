"""Doors for people: `otp-service COMMAND`, each command in the module that describes it."""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

from otp_service import __version__
from otp_service.cli.command import CommandError, escape_unprintable
from otp_service.core.errors import StoreTampered, StoreUnavailable


COMMAND_MODULES = ("dev", "init", "check", "serve", "numbers", "providers", "send_test", "audit")
"""Modules with `add(subparsers)`; the only list of them."""

STANDALONE_COMMANDS = ("audit",)
"""Commands that are also for machines with neither the service nor Redis: no other is imported."""


STORE_TAMPERED_MESSAGE = """\
otp-service: a record in Redis was not closed with any of the keys in force. If a key was taken out
too early, put it back (docs/key-rotation.md)."""
STORE_UNAVAILABLE_MESSAGE = """\
otp-service: Redis does not answer as it should: {} 'otp-service check' says more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for what it found, 2 for a wrong call."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            words = sys.argv[1:] if arguments is None else arguments
            known = _build_parser(words).parse_args(words)
            return int(known.run(known) or 0)
        finally:
            if sys.stdout:  # None if it was closed
                sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read us (`| head`) has enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except CommandError as error:
        print(f"otp-service: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        return _report_unreadable_file(error)
    except StoreTampered:
        print(STORE_TAMPERED_MESSAGE, file=sys.stderr)
    except StoreUnavailable as error:
        print(STORE_UNAVAILABLE_MESSAGE.format(error.__cause__ or error), file=sys.stderr)
    return 1


def _report_unreadable_file(error: OSError) -> int:
    """Say which file it was; raise what is about none."""
    if error.filename is None:
        raise error
    path = escape_unprintable(str(error.filename))
    print(f"otp-service: cannot read {path}: {error.strerror}.", file=sys.stderr)
    return 2


def _build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otp-service",
        description="Issues one-time codes by SMS and says once whether the code is right.",
        epilog="Start with 'otp-service dev'. Each command has a --help of its own.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in set(arguments[:1]).intersection(STANDALONE_COMMANDS) or COMMAND_MODULES:
        importlib.import_module(f"{__name__}.{name}").register_commands(subparsers)
    return parser
