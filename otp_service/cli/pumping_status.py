"""`otp-service pumping status`: what the brake knows, and how full its scopes are."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from otp_service.app import Application
from otp_service.cli import common
from otp_service.cli.command import CommandError, Subparsers, add_command, format_json
from otp_service.cli.numbers import create_cli_app
from otp_service.cli.pumping_report import (
    StatusReport,
    build_scope_members,
    build_status_members,
    format_scope_status,
    format_status,
)
from otp_service.cli.pumping_scopes import SCOPE_HELP, read_scope
from otp_service.clock import now_ms
from otp_service.core.errors import InvalidPhoneNumber
from otp_service.core.phone_number import PhoneNumber, classify_number
from otp_service.core.printable_text import escape_unprintable
from otp_service.core.pumping.learned_traffic import parse_country, parse_tenant
from otp_service.core.pumping.scope_text import format_scope
from otp_service.core.pumping.scopes import (
    BLOCK_DIGITS,
    RANGE_DIGITS,
    BrakeMode,
    DebtLimit,
    ScopeBucket,
)
from otp_service.service.brake import Brake
from otp_service.service.brake_status import BrakeInspector
from otp_service.settings import Settings
from otp_service.store.traffic_totals import TrafficTotals


_LAST_DIGITS = {DebtLimit.UNVERIFIED_RANGE: RANGE_DIGITS, DebtLimit.UNVERIFIED_BLOCK: BLOCK_DIGITS}


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "status", run_status, takes_dev_folder=True)
    text = f"one scope: {SCOPE_HELP}"
    parser.add_argument("scope", nargs="?", metavar="SCOPE", help=text)
    parser.add_argument("--tenant", help="only this tenant")
    parser.add_argument("--json", action="store_true", help="JSON, with amounts in millionths")


def run_status(args: argparse.Namespace) -> int:
    """Show what may be unverified in each country, and what is.

    For each tenant that can send: its mode, and for each of its countries the price of a message,
    what is unverified of what may be in the last hour and day, and what is learned: the
    share that stays unverified for each unit that verifies, and what usually verifies.
    The state of a scope is one of: admits, refuses or would refuse (in record mode)
    until a time, open or closed by an operator. A strained country has smaller floors
    for its ranges and operator blocks, and a new one has its floors alone.

    Then the budget of the day, and the scopes that operators have opened or closed.
    Ranges, operator blocks and addresses cannot be listed: they are stored under keyed
    names. With SCOPE, one of them is shown as each tenant meets it. Times hold if
    nothing else is sent until then. Nothing is changed.

    examples:
      otp-service pumping status
      otp-service pumping status --tenant shop --json
      otp-service pumping status range:+44740012
    """
    settings = common.read_running_settings(args.config)
    names = sorted(settings.tenant_settings)
    if args.tenant is not None and args.tenant not in names:
        raise CommandError(f"there is no tenant of this name. The tenants are {', '.join(names)}.")
    tenants = [args.tenant] if args.tenant else sorted(settings.sending_tenants)
    bucket = read_scope(args.scope, settings) if args.scope else None
    for line in asyncio.run(_list_lines(settings, tenants, bucket, is_json=args.json)):
        print("\n".join(map(escape_unprintable, line.split("\n"))))
    return 0


async def _list_lines(
    settings: Settings, tenants: Sequence[str], bucket: ScopeBucket | None, *, is_json: bool
) -> list[str]:
    async with create_cli_app(settings) as app:
        brake, report = await _load_brake(app, tenants)
        find_price = create_price_lookup(settings)
        inspector = BrakeInspector(app.store, brake, find_price=find_price, now=now_ms)
        if bucket is None:
            scopes = await TrafficTotals(app.store).list_scopes()
            status = await inspector.inspect_tenants(
                {name: list_countries(settings, scopes, name) for name in tenants}
            )
            if is_json:
                return [format_json(build_status_members(report, status), indent=2)]
            return list(format_status(report, status))
        country = find_country(bucket)
        chosen = [name for name in tenants if bucket.tenant in {"", name}]
        statuses = await inspector.inspect_scope(bucket, chosen, country)
        price = find_price(country) if country else None
        shown = (report, format_scope(bucket), country, price, statuses)
        if is_json:
            return [format_json(build_scope_members(*shown), indent=2)]
        return list(format_scope_status(*shown))


async def _load_brake(app: Application, tenants: Sequence[str]) -> tuple[Brake, StatusReport]:
    """Return the brake as a process has it, with what is learned and what operators have decided."""
    brake = app.brake
    await app.brake_sync.read_once()
    off = tuple(name for name in tenants if brake.settings[name].mode is BrakeMode.OFF)
    return brake, StatusReport(now_ms(), brake.prices.currency, brake.learned, brake.overrides, off)


def create_price_lookup(settings: Settings) -> Callable[[str], int]:
    """Return a function for the price of a message to a country, through the first provider of its route.

    Routes of prefixes are left out: a country has one price here.
    """
    routes, prices = settings.build_routes(), settings.build_price_table()

    def find_price(country: str) -> int:
        return prices.find_price(country, routes.find_first_provider(PhoneNumber("", country, 0)))

    return find_price


def list_countries(settings: Settings, scopes: Sequence[str], tenant: str) -> list[str]:
    """Return the countries of a tenant: those in its settings, and those of its traffic."""
    with_traffic = {parse_country(scope) for scope in scopes if parse_tenant(scope) == tenant}
    allowed = set(settings.tenant_settings[tenant].countries) - {"*"}
    return sorted(allowed | with_traffic)


def find_country(bucket: ScopeBucket) -> str:
    """Return the country of the numbers of a scope; empty if it has several, or is unknown."""
    if bucket.limit not in _LAST_DIGITS:
        return bucket.subject if bucket.limit is DebtLimit.UNVERIFIED_COUNTRY else ""
    for digit in "0123456789":
        with suppress(InvalidPhoneNumber):
            phone, _ = classify_number(bucket.subject + digit * _LAST_DIGITS[bucket.limit])
            return phone.country
    return ""
