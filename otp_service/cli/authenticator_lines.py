"""`otp-service authenticators …`: import, export and reseal the tokens that callers store.

Each command reads JSON lines from standard input, writes one line for each to standard output, and
reports on standard error. Secrets and tokens are never arguments, which the shell's history and the
list of processes show, and never part of a message.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from otp_service.app import RANDOM_SOURCE
from otp_service.cli import common
from otp_service.cli.command import CommandError, Subparsers, add_command, format_json
from otp_service.cli.numbers import create_cli_app
from otp_service.clock import now_ms
from otp_service.core import events
from otp_service.core.authenticator import NEW_SECRET_BYTES
from otp_service.core.authenticator_transfer import (
    export_line,
    import_authenticator,
    parse_import_line,
    reseal_line,
)
from otp_service.core.commit import RecordName
from otp_service.core.errors import StoreUnavailable
from otp_service.core.json_lines import InvalidLine, Members
from otp_service.core.sealed_token import TokenCipher
from otp_service.settings import Settings


LineConverter = Callable[[int, str], Members]
"""Returns the line to write for a line that was read, which has this number. Raises InvalidLine."""

PROGRESS_STEP_LINES = 1000
MAX_LISTED_LINES = 10


@dataclass
class LineCounts:
    """How many lines were read, and how many of them were refused."""

    read: int = 0
    refused: int = 0

    @property
    def converted(self) -> int:
        return self.read - self.refused

    @property
    def exit_code(self) -> int:
        return min(self.refused, 1)


@dataclass
class ShortSecrets:
    """The lines whose secret has fewer than the 160 bits that RFC 4226 recommends."""

    count: int = 0
    first_lines: list[int] = field(default_factory=list)

    def add_line(self, line: int) -> None:
        self.count += 1
        if self.count <= MAX_LISTED_LINES:
            self.first_lines.append(line)

    def report(self) -> None:
        if self.count:
            lines = ", ".join(map(str, self.first_lines))
            more = ", ..." if self.count > MAX_LISTED_LINES else ""
            word = "line" if self.count == 1 else "lines"
            _report(
                f"Secrets with fewer than 160 bits: {self.count}, in {word} {lines}{more}. They work;"
            )
            _report("enroll these accounts again when you can: RFC 4226 recommends 160 bits.")


def register_commands(subparsers: Subparsers) -> None:
    group = subparsers.add_parser(
        "authenticators",
        help="move authenticator apps in and out; seal stored tokens again",
        description="An authenticator is a token that your application stores for a user. The commands"
        " convert JSON lines: see docs/authenticators.md, Moving in and out.",
    )
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = add_command(inner, "import", run_import, takes_dev_folder=True)
    parser.add_argument("--tenant", required=True, help="the tenant that will verify the codes")
    parser.add_argument("--hex", action="store_true", help="secrets are hexadecimal, not base32")
    _add_dry_run(parser)
    _add_dry_run(add_command(inner, "export", run_export, takes_dev_folder=True))
    _add_dry_run(add_command(inner, "reseal", run_reseal, takes_dev_folder=True))


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    text = "check every line, and write no line and no event"
    parser.add_argument("--dry-run", action="store_true", help=text)


def run_import(args: argparse.Namespace) -> int:
    """Make tokens of the secrets of another system.

    Reads one JSON object a line with `account` and `secret`, and optionally
    `algorithm` (SHA1), `digits` (6) and `period` (30 seconds). The secret is base32,
    hexadecimal with --hex, or an otpauth:// URI, which has the parameters itself.
    Writes `account` and `authenticator`, the token to store for this account.

    The authenticators are active at once, because the other system confirmed them.
    A code is accepted from the second time step after the import on (30 to 60
    seconds), so that no code that the other system has seen is accepted here: stop
    verifying there first. Repeating an import is harmless. A secret of fewer than
    112 bits is refused (NIST SP 800-63B-4); fewer than 160 are reported.

    Needs the keys and no Redis. If Redis is available, the time of the import is that
    of its clock, and the event authenticator.imported has the count. Otherwise the time
    is that of this machine, and its clock must be right: with a slow one, codes that
    the other system has seen are accepted. Exit code 1 if a line was refused; the other
    lines are done.

    examples:
      otp-service authenticators import --tenant shop --dry-run < secrets.jsonl
      umask 077
      otp-service authenticators import --tenant shop < secrets.jsonl > tokens.jsonl
      otp-service authenticators import --tenant shop --hex < secrets.jsonl > tokens.jsonl
    """
    settings, cipher = _read_keys(args.config)
    if args.tenant not in settings.tenant_settings:
        names = ", ".join(sorted(settings.tenant_settings))
        raise CommandError(f"no tenant is called {args.tenant!r}: the settings have {names}.")
    short_secrets = ShortSecrets()
    redis_ahead_ms = _compare_clocks(settings)

    def convert_line(line: int, text: str) -> Members:
        account, parameters = parse_import_line(text, args.tenant, is_hex=args.hex)
        if len(parameters.secret) < NEW_SECRET_BYTES:
            short_secrets.add_line(line)
        authenticator = import_authenticator(
            RANDOM_SOURCE.token_bytes, args.tenant, account, parameters, now_ms() + redis_ahead_ms
        )
        return {"account": account, "authenticator": authenticator.seal(cipher)}

    with _record_transfer(settings, events.AuthenticatorsImported, args) as counts:
        _convert_lines(convert_line, counts, args)
    short_secrets.report()
    return counts.exit_code


def run_export(args: argparse.Namespace) -> int:
    """Write the secrets of authenticators in the clear.

    Reads one JSON object a line with `authenticator`, the stored token, and optionally
    `account`, which must be that of the token. Writes `tenant`, `account`, `secret`
    (base32), `algorithm`, `digits`, `period`, `created_at` and `confirmed_at`: another
    system needs no more, and 'import' reads the same lines.

    A secret is enough to compute the codes of its user: write to a file that only you
    can read, move it encrypted, and delete it. An unconfirmed authenticator is refused.

    Needs the keys and no Redis. If Redis is available, the event
    authenticator.exported has the count. Exit code 1 if a line was refused; the
    other lines are done.

    examples:
      otp-service authenticators export --dry-run < tokens.jsonl
      umask 077
      otp-service authenticators export < tokens.jsonl > secrets.jsonl
    """
    if sys.stdout and sys.stdout.isatty() and not args.dry_run:  # None if it was closed
        raise CommandError("a terminal would show the secrets: write them to a file.")
    settings, cipher = _read_keys(args.config)
    with _record_transfer(settings, events.AuthenticatorsExported, args) as counts:
        _convert_lines(lambda _, text: export_line(cipher, text), counts, args)
    if counts.converted and not args.dry_run:
        _report(
            "The output holds the secrets in the clear: keep it from other users, and delete it."
        )
    return counts.exit_code


def run_reseal(args: argparse.Namespace) -> int:
    """Seal tokens again under the current key.

    Reads one JSON object a line with `authenticator`, `recovery_set` or both, and
    writes it with the tokens under the first key of [keys].authenticator. Tokens that
    are under it, null and all other members stay as they are. Tokens keep their
    lifetime and their state.

    Store a token only where the old one is still stored: a verify may have changed it
    meanwhile. Needs the keys and no Redis. Exit code 1 if a line was refused; the
    other lines are done.

    examples:
      otp-service authenticators reseal --dry-run < tokens.jsonl
      otp-service authenticators reseal < tokens.jsonl > resealed.jsonl
    """
    _, cipher = _read_keys(args.config)
    resealed_tokens = 0

    def convert_line(_: int, text: str) -> Members:
        nonlocal resealed_tokens
        members, resealed = reseal_line(cipher, text)
        resealed_tokens += resealed
        return members

    counts = LineCounts()
    _convert_lines(convert_line, counts, args)
    verb = "are" if args.dry_run else "were"
    key = cipher.current_key_id
    _report(f"Tokens that {verb} under another key than {key!r}: {resealed_tokens}.")
    return counts.exit_code


def _read_keys(config: Path) -> tuple[Settings, TokenCipher]:
    """Return the settings, and what seals with their keys; [keys] alone is enough."""
    settings = common.read_running_settings(config, must_be_safe=False)
    return settings, TokenCipher(settings.keys.authenticator, RANDOM_SOURCE.token_bytes)


def _compare_clocks(settings: Settings) -> int:
    """Return how far Redis's clock is ahead of this machine's, in milliseconds; it may be negative.

    Without Redis it is 0, which is reported.
    """
    try:
        return asyncio.run(_fetch_clock_difference(settings))
    except StoreUnavailable as error:
        _report("The time of the import is that of this machine, whose clock must be right:")
        _report(f"Redis is not available ({error.cause or error}).")
        return 0


async def _fetch_clock_difference(settings: Settings) -> int:
    async with create_cli_app(settings) as app:
        # Any read returns the time; nothing has this name.
        redis_now, _ = await app.store.get_record(0, RecordName("answer", "", "time"))
        return redis_now - now_ms()


def _convert_lines(
    convert_line: LineConverter, counts: LineCounts, args: argparse.Namespace
) -> None:
    """Convert the lines of standard input. Raises CommandError if it is empty."""
    for line, text in common.read_stdin_lines("JSON objects, one a line; Ctrl-D ends them."):
        counts.read += 1
        try:
            converted = convert_line(line, text)
            if not args.dry_run:
                print(format_json(converted))
        except InvalidLine as error:
            counts.refused += 1
            _report(f"line {line}: {error}")
        _show_progress(counts.read)
    _erase_progress()
    if not counts.read:
        raise CommandError("no line was given: write JSON objects to standard input, one a line.")
    _report(_describe_counts(counts, is_dry_run=args.dry_run))


def _describe_counts(counts: LineCounts, *, is_dry_run: bool) -> str:
    done = "can be converted, and nothing was written" if is_dry_run else "converted"
    return f"Lines: {counts.read} read, {counts.refused} refused, {counts.converted} {done}."


def _report(text: str) -> None:
    print(text, file=sys.stderr)


def _show_progress(lines: int) -> None:
    if lines % PROGRESS_STEP_LINES == 0 and sys.stderr.isatty():
        print(f"lines: {lines:,}", end="\r", file=sys.stderr, flush=True)


def _erase_progress() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# ----------------------------------------------------------------------------------------- events


@contextmanager
def _record_transfer(
    settings: Settings, event_type: type[events.Event], args: argparse.Namespace
) -> Iterator[LineCounts]:
    """Count lines, and append one event with the count, also if the command is interrupted."""
    counts = LineCounts()
    try:
        yield counts
    finally:
        if counts.converted and not args.dry_run:
            tenant = getattr(args, "tenant", None)
            _report(asyncio.run(_append_event(settings, event_type, counts.converted, tenant)))


async def _append_event(
    settings: Settings, event_type: type[events.Event], count: int, tenant: str | None
) -> str:
    """Append the event. Return what to report: these commands need no Redis."""
    fields = {"count": count, "by": common.find_machine_user(), "tenant": tenant, "key_id": "cli"}
    try:
        async with create_cli_app(settings) as app:
            await app.system_events.record_transfer(event_type, **fields)
    except StoreUnavailable as error:
        return f"No event was written: Redis is not available ({error.cause or error})."
    return f"The event {event_type.__struct_config__.tag} was written."
