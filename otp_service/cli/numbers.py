"""The commands about numbers: `unlock`, `block`, `unblock`, `forget`, `blocked`, `locked`.

Numbers are read from standard input only. An argument would be stored in the shell's history and,
while the command runs, in the list of processes that every user of the machine can read.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from otp_service.app import RANDOM_SOURCE, Application
from otp_service.cli import common
from otp_service.cli.command import CommandError, Subparsers, add_command
from otp_service.core.do_not_send import DoNotSendEntry, ListedEntry, UnreadableEntry
from otp_service.core.errors import StoreUnavailable
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.ports import ProgressCallback
from otp_service.core.timestamps import to_datetime
from otp_service.service import Caller
from otp_service.service.numbers import NumberService
from otp_service.settings import Settings


CLI_CALLER = Caller.without_tenant(
    "cli", RANDOM_SOURCE.generate_operation_id(), machine_user=common.find_machine_user()
)
"""The caller that events record: this run of the command line."""

T = TypeVar("T")
NumberAction = Callable[[Application, PhoneNumber], Awaitable[str]]
NumberQuery = Callable[[NumberService, ProgressCallback], Awaitable[T]]

STDIN_HELP = """\
Numbers (E.164) are read from standard input, one a line, so that the shell's
history and the list of processes do not show them. Repeating it is harmless.
Exit code 1 if any of them failed.

examples:
  otp-service {name}
  otp-service {name} < numbers.txt"""


def register_commands(subparsers: Subparsers) -> None:
    actions: dict[str, NumberAction] = {
        "unlock": _unlock_number,
        "block": _block_number,
        "unblock": _unblock_number,
        "forget": _forget_number,
    }
    for name, action in actions.items():
        parser = add_command(
            subparsers, name, run_number_action, help_source=action, takes_dev_folder=True
        )
        parser.epilog = STDIN_HELP.format(name=name)
        parser.set_defaults(action=action)
    add_command(subparsers, "blocked", run_blocked, takes_dev_folder=True)
    add_command(subparsers, "locked", run_locked, takes_dev_folder=True)


def run_number_action(args: argparse.Namespace) -> int:
    """Apply the action to every valid number; report the invalid lines."""
    settings = common.read_running_settings(args.config)
    lines = dict(common.read_stdin_lines())
    if not lines:
        raise CommandError("no number was given: write them to standard input, one a line.")
    return asyncio.run(_apply_to_lines(settings, args.action, lines))


def run_blocked(args: argparse.Namespace) -> int:
    """List the numbers that operators have blocked, masked, with the time of the block.

    Those whose person has answered STOP are in 'otp-service opted-out'. The command
    scans all keys of Redis, which may take a while. Exit code 1 if an entry cannot be
    read, or Redis is unavailable.

    examples:
      otp-service blocked
    """
    blocked_numbers = asyncio.run(_query_numbers(args, NumberService.list_blocked_numbers))
    for listed in blocked_numbers:
        entry = listed.entry
        if isinstance(entry, DoNotSendEntry):
            print(f"{entry.masked:<18} since {to_datetime(entry.at):%FT%TZ}")
    if not blocked_numbers:
        print("No number is blocked.")
    return report_unreadable_entries(blocked_numbers)


def run_locked(args: argparse.Namespace) -> int:
    """List the numbers that are locked.

    They have too many consecutive failures at a tenant. They are shown masked, the
    latest failure first. The command scans all keys of Redis, which may take a while.
    Exit code 1 if Redis is unavailable.

    examples:
      otp-service locked
    """
    locked_numbers = asyncio.run(_query_numbers(args, NumberService.list_locked_numbers))
    for locked in locked_numbers:
        last = f"{to_datetime(locked.last_failure_at):%FT%TZ}"
        print(f"{locked.masked_number:<18} {locked.tenant:<32} {locked.failures} failures, {last}")
    if not locked_numbers:
        print("No number is locked.")
    return 0


def report_unreadable_entries(entries: Sequence[ListedEntry]) -> int:
    """Report the entries of the do-not-send list that cannot be opened; return the exit code."""
    problems = [each.entry.problem for each in entries if isinstance(each.entry, UnreadableEntry)]
    for problem in sorted(set(problems)):
        text = f"Unreadable entries, which refuse sends nevertheless: {problems.count(problem)}"
        print(f"{text}. {problem[:1].upper()}{problem[1:]}.", file=sys.stderr)
    return min(len(problems), 1)


def create_cli_app(settings: Settings, archive: Path | None = None) -> Application:
    """Return the application as commands use it: it records no start and no stop.

    `archive` is the folder to read archived events from, if it is not the configured one.
    """
    return Application(settings, is_supervisor=True, archive_folder=archive)


async def _query_numbers(args: argparse.Namespace, query: NumberQuery[T]) -> T:
    async with create_cli_app(common.read_running_settings(args.config)) as app:
        return await query(app.service.numbers, common.show_progress)


async def _apply_to_lines(settings: Settings, action: NumberAction, lines: dict[int, str]) -> int:
    failed = 0
    async with create_cli_app(settings) as app:
        for line, text in lines.items():
            try:
                phone = common.parse_typed_number(text, allow_fictitious=True)
                print(f"{phone.masked}  {await action(app, phone)}", flush=True)
            except CommandError as error:
                failed += 1
                print(f"line {line}: {error}", file=sys.stderr)
            except StoreUnavailable:
                print(f"Stopped at line {line}; repeat it and the lines after it.", file=sys.stderr)
                raise
    if failed:
        print(f"{failed} of {len(lines)} lines failed; the others are done.", file=sys.stderr)
    return min(failed, 1)


async def _unlock_number(app: Application, phone: PhoneNumber) -> str:
    """End the lock of numbers with too many consecutive failures."""
    await app.service.numbers.unlock_number(CLI_CALLER, phone)
    return "is unlocked at all tenants"


async def _block_number(app: Application, phone: PhoneNumber) -> str:
    """Put numbers on the do-not-send list.

    After that, no tenant can send to them.
    """
    await app.service.numbers.block_number(CLI_CALLER, phone)
    return "is on the do-not-send list"


async def _unblock_number(app: Application, phone: PhoneNumber) -> str:
    """Take numbers off the do-not-send list.

    This lifts an operator's block, and every opt-out of the person who has the number.
    """
    await app.service.numbers.unblock_number(CLI_CALLER, phone)
    return "is not on the do-not-send list"


async def _forget_number(app: Application, phone: PhoneNumber) -> str:
    """Delete everything that Redis holds about numbers.

    This deletes their challenges, limits and consecutive failures, and the records
    that they have verified, by which the brake on SMS pumping knows them. The
    do-not-send list keeps them: 'unblock' takes them off it. Events are kept until
    their retention ends; they hold a pseudonym.
    """
    erased = await app.service.numbers.forget_number(CLI_CALLER, phone, common.show_progress)
    return f"is forgotten: {erased.challenges} challenges, {erased.buckets} limits"
