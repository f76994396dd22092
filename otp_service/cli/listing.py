"""Which numbers are locked, and which are on the do-not-send list; all of them masked."""

import argparse
import asyncio
from datetime import UTC, datetime

import msgspec

from otp_service.cli.config import add_option, safe_settings
from otp_service.cli.console import Subparsers, command, progress, table
from otp_service.cli.opened import opened, operators
from otp_service.settings import Settings
from otp_service.store.operators import LockedNumber


def add(subparsers: Subparsers) -> None:
    """Describe `locked`; the other list is an option of `block`."""
    parser = command(
        subparsers,
        "locked",
        run,
        brief="list the numbers that are locked",
        about="Lists the numbers with 100 failures in a row at a tenant, masked, the latest first. Redis "
        "is looked through key by key, which may take a while.",
        examples=("otp-service locked", "otp-service locked --json"),
    )
    add_option(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, instants as in RFC 3339")


def run(known: argparse.Namespace) -> int:
    """Print a table, or JSON."""
    found = asyncio.run(_locked(safe_settings(known.config)))
    cells = [(one.tenant, one.masked, str(one.failures), _instant(one.last)) for one in found]
    if known.json:
        names = ("tenant", "number", "failures", "since")
        rows = [
            dict(zip(names, (o.tenant, o.masked, o.failures, _instant(o.last)), strict=True))
            for o in found
        ]
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
    elif found:
        print(table([("TENANT", "NUMBER", "FAILURES", "SINCE"), *cells]))
    else:
        print("No number is locked.")
    return 0


async def show_blocked(settings: Settings) -> int:
    """Print the do-not-send list."""
    async with opened(settings) as app:
        with progress("keys looked at") as tell:
            found = await operators(app).blocked(tell)
    print("\n".join(found) if found else "The do-not-send list is empty.")
    return 0


async def _locked(settings: Settings) -> list[LockedNumber]:
    async with opened(settings) as app:
        with progress("keys looked at") as tell:
            return await operators(app).locked(progress=tell)


def _instant(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
