"""The command line: `otp-service COMMAND`. Each group of commands is a module, listed in COMMAND_MODULES."""

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence

from otp_service import __version__
from otp_service.cli.command import CommandError
from otp_service.cli.module_import import import_permanently
from otp_service.core.errors import StoreKeyUnknown, StoreTampered, StoreUnavailable
from otp_service.core.printable_text import escape_unprintable


COMMAND_MODULES = {
    "dev": "dev",
    "init": "init",
    "key": "init",
    "check": "check",
    "calibrate": "check",
    "openapi": "check",
    "serve": "serve",
    "status": "service_status",
    "unlock": "numbers",
    "accounts": "accounts",
    "authenticators": "authenticator_lines",
    "block": "numbers",
    "unblock": "numbers",
    "forget": "numbers",
    "blocked": "numbers",
    "opted-out": "opted_out",
    "locked": "numbers",
    "why": "preview_lines",
    "reset-limit": "reset_limit",
    "pumping": "pumping_group",
    "limit-key": "limit_key",
    "providers": "providers",
    "send-test": "send_test",
    "audit": "audit",
}
"""Each command with its module, in the order of `--help`. README.md has the steps for a new one.

Only the module of the command that runs is imported: `audit` must run on an auditor's machine, which
has neither the service nor Redis.
"""

FAILURE_LOGGER = "otp_service.store.failure_log"

STORE_TAMPERED_MESSAGE = """\
otp-service: a record in Redis has an invalid MAC: another program wrote it, or a key was replaced
under the same id (docs/key-rotation.md)."""
STORE_KEY_UNKNOWN_MESSAGE = """\
otp-service: {}. If a key was removed too early, put it back (docs/key-rotation.md)."""
STORE_UNAVAILABLE_MESSAGE = """\
otp-service: Redis does not answer as it should: {}. 'otp-service check' says more."""
EXIT_CODES = """\
exit codes: 0 done, 1 failed or something was found, 2 wrong arguments or an unreadable file.

Start with 'otp-service dev'. Each command has a --help of its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, as EXIT_CODES has it."""
    # A command says itself why it failed; without a handler, `logging` would print it a second time.
    logging.getLogger(FAILURE_LOGGER).addHandler(logging.NullHandler())
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            words = sys.argv[1:] if arguments is None else arguments
            args = _build_parser(words).parse_args(words)
            return int(args.run(args) or 0)
        finally:
            if sys.stdout:  # None if it was closed
                sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has closed the pipe. Python would report that again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except CommandError as error:
        print(f"otp-service: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        return _report_unreadable_file(error)
    except StoreUnavailable as error:
        print(_describe_store_error(error), file=sys.stderr)
    return 1


def _describe_store_error(error: StoreUnavailable) -> str:
    match error:
        case StoreTampered():
            return STORE_TAMPERED_MESSAGE
        case StoreKeyUnknown():
            return STORE_KEY_UNKNOWN_MESSAGE.format(error.cause)
        case _:
            return STORE_UNAVAILABLE_MESSAGE.format(error.cause or error)


def _report_unreadable_file(error: OSError) -> int:
    """Print which file cannot be read; re-raise an error that names no file."""
    if error.filename is None:
        raise error
    path = escape_unprintable(str(error.filename))
    print(f"otp-service: cannot read {path}: {error.strerror}.", file=sys.stderr)
    return 2


def _build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otp-service",
        description="Issues one-time codes by SMS and confirms once that a code is right.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    called = [COMMAND_MODULES[word] for word in arguments[:1] if word in COMMAND_MODULES]
    for module in called or dict.fromkeys(COMMAND_MODULES.values()):
        import_permanently(f"{__name__}.{module}").register_commands(subparsers)
    return parser
