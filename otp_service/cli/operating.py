"""What operators do with numbers: `unlock`, `block`, `unblock` and `forget`.

Numbers come from standard input alone. As an argument each would stand in the shell's history and,
while the command runs, in the list of processes that every user of the machine can read.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from otp_service.app import RANDOM, Application
from otp_service.cli.config import add_option, safe_settings
from otp_service.cli.console import Subparsers, command, progress, read_lines, remedy
from otp_service.cli.errors import CommandError
from otp_service.cli.listing import show_blocked
from otp_service.cli.opened import opened, operators
from otp_service.core.errors import InvalidPhoneNumber, NumberNotAllowed, StoreUnavailable
from otp_service.core.events import Forgotten, ListChanged
from otp_service.core.phone import PhoneNumber, parse
from otp_service.core.pseudonym import pseudonym
from otp_service.core.tenant import Tenant
from otp_service.service import Caller
from otp_service.settings import Settings
from otp_service.wire import UnlockRequest


CALLER = Caller(Tenant("", "", frozenset()), "cli", RANDOM.operation())
"""Whom events name: nobody's key, this run of the command line."""

Act = Callable[[Application, PhoneNumber], Awaitable[str]]


def add(subparsers: Subparsers) -> None:
    """Describe the commands."""
    _add(subparsers, "unlock", _unlock, "let numbers in that had too many failures in a row", "")
    parser = _add(
        subparsers,
        "block",
        _block,
        "put numbers on the do-not-send list",
        "No tenant can send to them any more.",
    )
    parser.add_argument("--list", action="store_true", help="show the list instead, masked")
    _add(subparsers, "unblock", _unblock, "take numbers off the do-not-send list", "")
    parser = _add(
        subparsers,
        "forget",
        _forget,
        "delete all that Redis holds about numbers",
        "Their challenges and limits go, failures in a row too. Events stay until their retention "
        "ends; they hold a pseudonym.",
    )
    parser.add_argument("--unblock", action="store_true", help="from the do-not-send list as well")


def _add(
    subparsers: Subparsers, name: str, act: Act, brief: str, about: str
) -> argparse.ArgumentParser:
    parser = command(
        subparsers,
        name,
        run,
        brief=brief,
        about=(
            f"{brief[0].upper()}{brief[1:]}. {about}\n\n"
            "Numbers (E.164) are read from standard input, one a line, so that none stands in "
            "the shell's history or among the arguments of a process. Doing it twice is "
            "harmless. Exit code 1 if any of them failed."
        ),
        examples=(f"otp-service {name}", f"otp-service {name} < numbers.txt"),
    )
    add_option(parser)
    parser.set_defaults(act=act, list=False, unblock=False)
    return parser


def run(known: argparse.Namespace) -> int:
    """Do it for every number that is one; say which line was none."""
    settings = safe_settings(known.config)
    if known.list:
        return asyncio.run(show_blocked(settings))
    lines = dict(read_lines())
    if not lines:
        raise CommandError("no number was given: write them to standard input, one a line.")
    act = _forget_listed if known.unblock else known.act
    return asyncio.run(_for_each(settings, act, lines))


async def _for_each(settings: Settings, act: Act, lines: dict[int, str]) -> int:
    failed = 0
    async with opened(settings) as app:
        for place, text in lines.items():
            try:
                phone = parse(text, allow_fictitious=True)
                print(f"{phone.masked}  {await act(app, phone)}", flush=True)
            except (InvalidPhoneNumber, NumberNotAllowed) as error:
                failed += 1
                print(f"line {place}: {remedy(error)}", file=sys.stderr)
            except StoreUnavailable:
                print(
                    f"Stopped at line {place}; give it and those after it again.", file=sys.stderr
                )
                raise
    if failed:
        print(f"{failed} of {len(lines)} lines failed; the others are done.", file=sys.stderr)
    return min(failed, 1)


async def _unlock(app: Application, phone: PhoneNumber) -> str:
    await app.service.unlock(CALLER, UnlockRequest(phone.e164))
    return "is unlocked at all tenants"


async def _block(app: Application, phone: PhoneNumber) -> str:
    event = ListChanged(**_about(app, phone), reason="blocked")
    await operators(app).block(phone, event, RANDOM.operation())
    return "is on the do-not-send list"


async def _unblock(app: Application, phone: PhoneNumber) -> str:
    event = ListChanged(**_about(app, phone), reason="unblocked")
    await operators(app).unblock(phone, event, RANDOM.operation())
    return "is not on the do-not-send list"


async def _forget(app: Application, phone: PhoneNumber, *, from_list: bool = False) -> str:
    event = Forgotten(**_about(app, phone), reason="by_operator")
    tenants = app.settings.tenants()
    with progress("keys looked at") as tell:
        gone = await operators(app).forget(
            phone, event, RANDOM.operation(), tenants=tenants, from_list=from_list, progress=tell
        )
    listed = "; it was on the do-not-send list" if gone.from_list else ""
    return f"is forgotten: {gone.challenges} challenges, {gone.buckets} limits{listed}"


async def _forget_listed(app: Application, phone: PhoneNumber) -> str:
    return await _forget(app, phone, from_list=True)


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
