"""`otp-service pumping allow`, `block` and `lift`: open and close scopes of the brake for a time.

The text of a scope is that of `core/pumping/scope_text.py`. A range is no personal data: ten thousand
numbers have it. An address is, so its scope is read from standard input.
"""

import argparse
import asyncio
from typing import Literal

from otp_service.cli import common
from otp_service.cli.command import (
    CommandError,
    CommandHandler,
    Subparsers,
    add_command,
    parse_duration,
)
from otp_service.cli.numbers import CLI_CALLER, create_cli_app
from otp_service.cli.send_preview_report import format_duration
from otp_service.core.printable_text import has_phone_number
from otp_service.core.pumping.overrides import (
    MAX_CLOSED_MS,
    MAX_OPEN_MS,
    MAX_OVERRIDES,
    MAX_REASON_CHARS,
    ScopeOverride,
    TooManyOverrides,
)
from otp_service.core.pumping.scope_text import (
    SCOPE_EXAMPLES,
    InvalidScope,
    format_scope,
    parse_scope,
)
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.timestamps import MINUTE_MS, to_datetime
from otp_service.settings import Settings


MIN_DURATION_MS = MINUTE_MS

STDIN_HELP = "'-' reads it from standard input"
SCOPE_HELP = f"one of {', '.join(SCOPE_EXAMPLES.values())}; {STDIN_HELP}"
CLOSED_SCOPES = [text for text in SCOPE_EXAMPLES.values() if text != "overall"]
CLOSED_SCOPE_HELP = f"one of {', '.join(CLOSED_SCOPES)}; {STDIN_HELP}"
DELAY_TEXT = "Every process follows within some seconds."


def register_commands(subparsers: Subparsers) -> None:
    allow = _add_override_command(subparsers, "allow", run_allow, SCOPE_HELP)
    allow.set_defaults(max_ms=MAX_OPEN_MS)
    block = _add_override_command(subparsers, "block", run_block, CLOSED_SCOPE_HELP)
    block.set_defaults(max_ms=MAX_CLOSED_MS)
    parser = add_command(subparsers, "lift", run_lift, takes_dev_folder=True)
    parser.add_argument("scope", metavar="SCOPE", help=SCOPE_HELP)


def _add_override_command(
    subparsers: Subparsers, name: str, run: CommandHandler, scope_help: str
) -> argparse.ArgumentParser:
    parser = add_command(subparsers, name, run, takes_dev_folder=True)
    parser.add_argument("scope", metavar="SCOPE", help=scope_help)
    text = "how long, like 30m, 6h or 2d"
    parser.add_argument("--for", required=True, dest="duration", metavar="TIME", help=text)
    text = f"why, for the log and for other operators: at most {MAX_REASON_CHARS} characters"
    parser.add_argument("--reason", required=True, metavar="TEXT", help=text)
    return parser


def run_allow(args: argparse.Namespace) -> int:
    """Open a scope of the brake for a time: it refuses nothing.

    For example when a campaign or an event brings many new people from one place, or
    when the brake refuses people. Messages are still charged, so the figures of the
    scope stay true. Other scopes can still refuse: 'otp-service why -' shows which.
    At most 7 d; repeating it moves the end. It replaces a block of the scope.

    A range is a number without its last four digits, an operator block one without
    its last five. 'overall' is the budget of the day: opened, nothing bounds what is
    spent. The event brake.opened records the scope, the end, and the reason.

    examples:
      otp-service pumping allow country:GB@shop --for 6h --reason "TV spot at 20:15"
      otp-service pumping allow range:+44740012 --for 2d --reason INC-4711
      otp-service pumping allow - --for 1h --reason INC-4712 < scope.txt
    where scope.txt is
      address:192.0.2.1@shop
    """
    return _override_scope(args, "open")


def run_block(args: argparse.Namespace) -> int:
    """Close a scope of the brake for a time: it refuses numbers that are not known.

    For example when you see an attack before the brake does. Numbers that have
    verified within 90 days still get their codes, so people can log in. It refuses in
    record mode too, and not at a tenant whose brake is off. A closed range, block or
    address does not refuse deliveries, nor sends while providers fail: close the
    country for these. At most 12 h; repeating it moves the end. It replaces an allow
    of the scope.

    The event brake.closed records the scope, the end, and the reason.

    examples:
      otp-service pumping block country:MG@shop --for 6h --reason "attack, INC-4711"
      otp-service pumping block block:+4474001 --for 2h --reason INC-4711
    """
    return _override_scope(args, "closed")


def run_lift(args: argparse.Namespace) -> int:
    """End an allow or a block of a scope: the brake decides again.

    The event brake.lifted records it. Repeating it is harmless.

    examples:
      otp-service pumping lift country:GB@shop
    """
    settings = common.read_running_settings(args.config)
    bucket = read_scope(args.scope, settings)
    lifted = asyncio.run(_lift_override(settings, bucket))
    if lifted is None:
        print(f"{format_scope(bucket)} is neither open nor closed: nothing was changed.")
    else:
        print(f"{format_scope(bucket)} is {lifted.action} no more. {DELAY_TEXT}")
    return 0


def read_scope(text: str, settings: Settings) -> ScopeBucket:
    """Return the scope of an argument, `-` for that on standard input. Raises CommandError."""
    is_argument = text != "-"
    try:
        if not is_argument:
            prompt = "A scope like address:192.0.2.1@shop; Ctrl-D ends it."
            lines = [line for _, line in common.read_stdin_lines(prompt)]
            if len(lines) != 1:
                raise CommandError("write one scope to standard input, in one line.")
            (text,) = lines
        bucket = parse_scope(text, settings.tenant_settings)
    except InvalidScope as error:
        raise CommandError(str(error)) from None
    if is_argument and bucket.limit is DebtLimit.UNVERIFIED_ADDRESS:
        raise CommandError(
            "an address is personal data, and an argument is stored in the shell's history: "
            "write the scope to standard input, and '-' as SCOPE."
        )
    return bucket


def _override_scope(args: argparse.Namespace, action: Literal["open", "closed"]) -> int:
    settings = common.read_running_settings(args.config)
    bucket = read_scope(args.scope, settings)
    if action == "closed" and bucket.limit is DebtLimit.SPEND_OVERALL:
        raise CommandError(
            "the budget of the day cannot be closed: tenants whose brake is off would still send. "
            "Close a country of a tenant."
        )
    _check_country(bucket, settings)
    duration_ms, reason = _parse_duration(args.duration, args.max_ms), _check_reason(args.reason)
    override = asyncio.run(_store_override(settings, bucket, action, duration_ms, reason))
    end = f"{to_datetime(override.until):%FT%TZ} ({format_duration(duration_ms)})"
    print(f"{format_scope(bucket)} is {action} until {end}. {DELAY_TEXT}")
    return 0


def _check_country(bucket: ScopeBucket, settings: Settings) -> None:
    """Raise CommandError for a country that the tenant sends nothing to: it would have no effect."""
    if bucket.limit is not DebtLimit.UNVERIFIED_COUNTRY:
        return
    countries = settings.tenant_settings[bucket.tenant].countries
    if not countries & {bucket.subject, "*"}:
        known = ", ".join(sorted(countries)) or "none"
        raise CommandError(
            f"{bucket.tenant} sends nothing to {bucket.subject}. Its countries are {known}."
        )


def _parse_duration(text: str, max_ms: int) -> int:
    try:
        duration_ms = parse_duration(text)
    except ValueError:
        raise CommandError("--for is invalid: write a time like 30m, 6h or 2d.") from None
    if not MIN_DURATION_MS <= duration_ms <= max_ms:
        limits = f"{format_duration(MIN_DURATION_MS)} and at most {format_duration(max_ms)}"
        raise CommandError(f"--for must be at least {limits}. Repeat the command to extend it.")
    return duration_ms


def _check_reason(text: str) -> str:
    """Return the reason. Raises CommandError, without the text."""
    reason = text.strip()
    if not (0 < len(reason) <= MAX_REASON_CHARS and reason.isprintable()):
        raise CommandError(f"--reason must have 1 to {MAX_REASON_CHARS} printable characters.")
    if has_phone_number(reason):
        raise CommandError(
            "--reason seems to have a phone number, and the log keeps it: leave it out."
        )
    return reason


async def _store_override(
    settings: Settings,
    bucket: ScopeBucket,
    action: Literal["open", "closed"],
    duration_ms: int,
    reason: str,
) -> ScopeOverride:
    async with create_cli_app(settings) as app:
        try:
            return await app.scope_overrides.override_scope(
                CLI_CALLER, bucket, action, duration_ms=duration_ms, reason=reason
            )
        except TooManyOverrides:
            raise CommandError(
                f"{MAX_OVERRIDES} scopes are open or closed: lift some of them ('otp-service pumping "
                "status' lists them), or name a wider scope."
            ) from None


async def _lift_override(settings: Settings, bucket: ScopeBucket) -> ScopeOverride | None:
    async with create_cli_app(settings) as app:
        return await app.scope_overrides.lift_override(CLI_CALLER, bucket)
