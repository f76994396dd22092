"""What operators do with numbers: `unlock`, `block`, `unblock` and `forget`, and their lists.

Numbers come from standard input alone. As an argument each would stand in the shell's history and,
while the command runs, in the list of processes that every user of the machine can read.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from otp_service.app import RANDOM, Application
from otp_service.cli.command import CommandError, Subparsers, command
from otp_service.cli.common import number_in, progress, read_lines, running_settings
from otp_service.core.errors import StoreUnavailable
from otp_service.core.events import Forgotten, ListChanged
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.pseudonym import pseudonym
from otp_service.core.tenant import Tenant
from otp_service.schemas import UnlockRequest
from otp_service.service import Caller
from otp_service.settings import Settings
from otp_service.store.number_admin import LockedNumber, Operators


CALLER = Caller(Tenant("", "", frozenset()), "cli", RANDOM.operation())
"""Whom events name: nobody's key, this run of the command line."""

T = TypeVar("T")
Act = Callable[[Application, PhoneNumber], Awaitable[str]]

READ = """\
Numbers (E.164) are read from standard input, one a line, so that none stands in
the shell's history or among the arguments of a process. Doing it twice is
harmless. Exit code 1 if any of them failed.

examples:
  otp-service {name}
  otp-service {name} < numbers.txt"""


def add(subparsers: Subparsers) -> None:
    """Describe the commands."""
    acts = {"unlock": _unlock, "block": _block, "unblock": _unblock, "forget": _forget}
    for name, act in acts.items():
        parser = command(subparsers, name, run, about=act)
        parser.epilog = READ.format(name=name)
        parser.set_defaults(act=act)
    command(subparsers, "blocked", blocked)
    command(subparsers, "locked", locked)


def run(known: argparse.Namespace) -> int:
    """Do it for every number that is one; say which line was none."""
    settings = running_settings(known.config)
    lines = dict(read_lines())
    if not lines:
        raise CommandError("no number was given: write them to standard input, one a line.")
    return asyncio.run(_for_each(settings, known.act, lines))


def blocked(known: argparse.Namespace) -> int:
    """List the do-not-send list, masked.

    examples:
      otp-service blocked
    """
    found = asyncio.run(_found(known, lambda app: _operators(app).blocked(progress)))
    print("\n".join(found) if found else "The do-not-send list is empty.")
    return 0


def locked(known: argparse.Namespace) -> int:
    """List the numbers that are locked.

    These have too many failures in a row at a tenant; they are shown masked, the latest
    first. Redis is looked through key by key, which may take a while.

    examples:
      otp-service locked
    """
    found = asyncio.run(_found(known, _locked))
    for one in found:
        since = datetime.fromtimestamp(one.last / 1000, UTC)
        print(f"{one.masked:<18} {one.tenant:<32} {one.failures} failures, {since:%FT%TZ}")
    if not found:
        print("No number is locked.")
    return 0


def opened(settings: Settings, archive: Path | None = None) -> Application:
    """Return the service as commands use it: put together, and no event tells that it started.

    `archive` is the folder to look for events in, if it is not the configured one.
    """
    return Application(settings, speaks_for_workers=True, archive=archive)


async def _found(known: argparse.Namespace, look: Callable[[Application], Awaitable[T]]) -> T:
    async with opened(running_settings(known.config)) as app:
        return await look(app)


async def _locked(app: Application) -> list[LockedNumber]:
    return await _operators(app).locked(app.settings.tenants(), progress)


async def _for_each(settings: Settings, act: Act, lines: dict[int, str]) -> int:
    failed = 0
    async with opened(settings) as app:
        for place, text in lines.items():
            try:
                phone = number_in(text, fictitious=True)
                print(f"{phone.masked}  {await act(app, phone)}", flush=True)
            except CommandError as error:
                failed += 1
                print(f"line {place}: {error}", file=sys.stderr)
            except StoreUnavailable:
                print(f"Stopped at line {place}; give it and the others again.", file=sys.stderr)
                raise
    if failed:
        print(f"{failed} of {len(lines)} lines failed; the others are done.", file=sys.stderr)
    return min(failed, 1)


async def _unlock(app: Application, phone: PhoneNumber) -> str:
    """Let numbers in that had too many failures in a row."""
    await app.service.unlock(CALLER, UnlockRequest(phone.e164))
    return "is unlocked at all tenants"


async def _block(app: Application, phone: PhoneNumber) -> str:
    """Put numbers on the do-not-send list.

    No tenant can send to them any more.
    """
    event = ListChanged(**_about(app, phone), reason="blocked")
    await _operators(app).block(phone, event, RANDOM.operation())
    return "is on the do-not-send list"


async def _unblock(app: Application, phone: PhoneNumber) -> str:
    """Take numbers off the do-not-send list."""
    event = ListChanged(**_about(app, phone), reason="unblocked")
    await _operators(app).unblock(phone, event, RANDOM.operation())
    return "is not on the do-not-send list"


async def _forget(app: Application, phone: PhoneNumber) -> str:
    """Delete all that Redis holds about numbers.

    Their challenges and limits go, failures in a row too. The do-not-send list
    stays: 'unblock' takes them off it. Events stay until their retention ends; they
    hold a pseudonym.
    """
    event = Forgotten(**_about(app, phone), reason="by_operator")
    tenants = app.settings.tenants()
    gone = await _operators(app).forget(
        phone, event, RANDOM.operation(), tenants=tenants, progress=progress
    )
    return f"is forgotten: {gone.challenges} challenges, {gone.buckets} limits"


def _about(app: Application, phone: PhoneNumber) -> dict[str, Any]:
    """Return what an event says of this run and of a number."""
    return {
        "id": RANDOM.operation(),
        "key_id": CALLER.key_id,
        "request": CALLER.request,
        "versions": app.versions,
        "number": pseudonym(app.settings.keys.pseudonym.current, "number", phone.collapsed),
        "country": phone.country,
        "tail": phone.e164[-2:],
    }


def _operators(app: Application) -> Operators:
    return Operators(app.store, app.settings.keys.pseudonym)
