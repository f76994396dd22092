"""What operators do with numbers: `unlock`, `block`, `unblock` and `forget`, and their lists.

Numbers come from standard input alone. As an argument each would stand in the shell's history and,
while the command runs, in the list of processes that every user of the machine can read.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from otp_service.app import RANDOM, Application
from otp_service.cli.command import CommandError, Subparsers, add_command
from otp_service.cli.common import (
    parse_typed_number,
    read_running_settings,
    read_stdin_lines,
    show_progress,
)
from otp_service.core.errors import StoreUnavailable
from otp_service.core.events import BlocklistChanged, NumberErased
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.pseudonym import derive_pseudonym
from otp_service.core.timestamps import to_datetime
from otp_service.schemas import UnlockRequest
from otp_service.service import Caller
from otp_service.settings import Settings
from otp_service.store.number_admin import LockedNumber, NumberAdmin


CLI_CALLER = Caller.without_tenant("cli", RANDOM.generate_operation_id())
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
    found = asyncio.run(
        _run_with_app(
            args, lambda app: _create_number_admin(app).list_blocked_numbers(show_progress)
        )
    )
    print("\n".join(found) if found else "The do-not-send list is empty.")
    return 0


def run_locked(args: argparse.Namespace) -> int:
    """List the numbers that are locked.

    These have too many failures in a row at a tenant; they are shown masked, the latest
    first. Redis is looked through key by key, which may take a while.

    examples:
      otp-service locked
    """
    found = asyncio.run(_run_with_app(args, _list_locked))
    for one in found:
        since = to_datetime(one.last_failure_at)
        print(f"{one.masked_number:<18} {one.tenant:<32} {one.failures} failures, {since:%FT%TZ}")
    if not found:
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


async def _list_locked(app: Application) -> list[LockedNumber]:
    return await _create_number_admin(app).list_locked_numbers(
        app.settings.build_tenants(), show_progress
    )


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
    await app.service.unlock_number(CLI_CALLER, UnlockRequest(phone.e164))
    return "is unlocked at all tenants"


async def _block_number(app: Application, phone: PhoneNumber) -> str:
    """Put numbers on the do-not-send list.

    No tenant can send to them any more.
    """
    event = BlocklistChanged(**_build_event_fields(app, phone), reason="blocked")
    await _create_number_admin(app).block_number(phone, event, RANDOM.generate_operation_id())
    return "is on the do-not-send list"


async def _unblock_number(app: Application, phone: PhoneNumber) -> str:
    """Take numbers off the do-not-send list."""
    event = BlocklistChanged(**_build_event_fields(app, phone), reason="unblocked")
    await _create_number_admin(app).unblock_number(phone, event, RANDOM.generate_operation_id())
    return "is not on the do-not-send list"


async def _forget_number(app: Application, phone: PhoneNumber) -> str:
    """Delete all that Redis holds about numbers.

    Their challenges and limits go, failures in a row too. The do-not-send list
    stays: 'unblock' takes them off it. Events stay until their retention ends; they
    hold a pseudonym.
    """
    event = NumberErased(**_build_event_fields(app, phone), reason="by_operator")
    tenants = app.settings.build_tenants()
    gone = await _create_number_admin(app).erase_number(
        phone, event, RANDOM.generate_operation_id(), tenants=tenants, progress=show_progress
    )
    return f"is forgotten: {gone.challenges} challenges, {gone.buckets} limits"


def _build_event_fields(app: Application, phone: PhoneNumber) -> dict[str, Any]:
    """Return what an event says of this run and of a number."""
    return {
        "id": RANDOM.generate_operation_id(),
        "key_id": CLI_CALLER.key_id,
        "request": CLI_CALLER.request_id,
        "versions": app.versions,
        "number": derive_pseudonym(app.settings.keys.pseudonym.current, "number", phone.canonical),
        "country": phone.country,
        "number_suffix": phone.e164[-2:],
    }


def _create_number_admin(app: Application) -> NumberAdmin:
    return NumberAdmin(app.store, app.settings.keys.pseudonym)
