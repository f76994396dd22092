"""What operators do with numbers: `unlock`, `block`, `unblock` and `forget`, and their lists.

Numbers come from standard input alone. As an argument each would stand in the shell's history and,
while the command runs, in the list of processes that every user of the machine can read.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from otp_service.app import RANDOM_SOURCE, Application
from otp_service.cli.command import CommandError, Subparsers, add_command
from otp_service.cli.common import (
    parse_typed_number,
    read_running_settings,
    read_stdin_lines,
    show_progress,
)
from otp_service.core.errors import StoreUnavailable
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.timestamps import to_datetime
from otp_service.service import Caller
from otp_service.settings import Settings


CLI_CALLER = Caller.without_tenant("cli", RANDOM_SOURCE.generate_operation_id())
"""The caller that events record: this run of the command line."""

T = TypeVar("T")
NumberAction = Callable[[Application, PhoneNumber], Awaitable[str]]

STDIN_HELP = """\
Numbers (E.164) are read from standard input, one a line, so that none stands in
the shell's history or among the arguments of a process. Doing it twice is
harmless. Exit code 1 if any of them failed.

examples:
  otp-service {name}
  otp-service {name} < numbers.txt"""


def register_commands(subparsers: Subparsers) -> None:
    """Describe the commands."""
    acts = {
        "unlock": _unlock_number,
        "block": _block_number,
        "unblock": _unblock_number,
        "forget": _forget_number,
    }
    for name, act in acts.items():
        parser = add_command(subparsers, name, run_number_action, help_source=act)
        parser.epilog = STDIN_HELP.format(name=name)
        parser.set_defaults(act=act)
    add_command(subparsers, "blocked", run_blocked)
    add_command(subparsers, "locked", run_locked)


def run_number_action(args: argparse.Namespace) -> int:
    """Do it for every number that is one; say which line was none."""
    settings = read_running_settings(args.config)
    lines = dict(read_stdin_lines())
    if not lines:
        raise CommandError("no number was given: write them to standard input, one a line.")
    return asyncio.run(_apply_to_lines(settings, args.act, lines))


def run_blocked(args: argparse.Namespace) -> int:
    """List the do-not-send list, masked.

    examples:
      otp-service blocked
    """
    masked_numbers = asyncio.run(
        _run_with_app(args, lambda app: app.service.numbers.list_blocked_numbers(show_progress))
    )
    print("\n".join(masked_numbers) or "The do-not-send list is empty.")
    return 0


def run_locked(args: argparse.Namespace) -> int:
    """List the numbers that are locked.

    These have too many failures in a row at a tenant; they are shown masked, the latest
    first. Redis is looked through key by key, which may take a while.

    examples:
      otp-service locked
    """
    locked_numbers = asyncio.run(
        _run_with_app(args, lambda app: app.service.numbers.list_locked_numbers(show_progress))
    )
    for locked in locked_numbers:
        last = f"{to_datetime(locked.last_failure_at):%FT%TZ}"
        print(f"{locked.masked_number:<18} {locked.tenant:<32} {locked.failures} failures, {last}")
    if not locked_numbers:
        print("No number is locked.")
    return 0


def create_cli_app(settings: Settings, archive: Path | None = None) -> Application:
    """Return the service as commands use it: put together, and no event tells that it started.

    `archive` is the folder to look for events in, if it is not the configured one.
    """
    return Application(settings, is_supervisor=True, archive_folder=archive)


async def _run_with_app(
    args: argparse.Namespace, query: Callable[[Application], Awaitable[T]]
) -> T:
    async with create_cli_app(read_running_settings(args.config)) as app:
        return await query(app)


async def _apply_to_lines(settings: Settings, action: NumberAction, lines: dict[int, str]) -> int:
    failed = 0
    async with create_cli_app(settings) as app:
        for place, text in lines.items():
            try:
                phone = parse_typed_number(text, allow_fictitious=True)
                print(f"{phone.masked}  {await action(app, phone)}", flush=True)
            except CommandError as error:
                failed += 1
                print(f"line {place}: {error}", file=sys.stderr)
            except StoreUnavailable:
                print(f"Stopped at line {place}; give it and the others again.", file=sys.stderr)
                raise
    if failed:
        print(f"{failed} of {len(lines)} lines failed; the others are done.", file=sys.stderr)
    return min(failed, 1)


async def _unlock_number(app: Application, phone: PhoneNumber) -> str:
    """Let numbers in that had too many failures in a row."""
    await app.service.numbers.unlock_number(CLI_CALLER, phone)
    return "is unlocked at all tenants"


async def _block_number(app: Application, phone: PhoneNumber) -> str:
    """Put numbers on the do-not-send list.

    No tenant can send to them any more.
    """
    await app.service.numbers.block_number(CLI_CALLER, phone)
    return "is on the do-not-send list"


async def _unblock_number(app: Application, phone: PhoneNumber) -> str:
    """Take numbers off the do-not-send list."""
    await app.service.numbers.unblock_number(CLI_CALLER, phone)
    return "is not on the do-not-send list"


async def _forget_number(app: Application, phone: PhoneNumber) -> str:
    """Delete all that Redis holds about numbers.

    Their challenges and limits go, failures in a row too. The do-not-send list
    stays: 'unblock' takes them off it. Events stay until their retention ends; they
    hold a pseudonym.
    """
    erased = await app.service.numbers.forget_number(CLI_CALLER, phone, show_progress)
    return f"is forgotten: {erased.challenges} challenges, {erased.buckets} limits"
