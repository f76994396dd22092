"""`otp-service why`: which limits would refuse the next send to a number, and until when.

Numbers, accounts and addresses are personal data, so all of them are read from standard input: an argument
is stored in the shell's history and shown in the list of processes.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence

import msgspec

from otp_service.app import Application
from otp_service.cli import common
from otp_service.cli.command import CommandError, Subparsers, UsageError, add_command, format_json
from otp_service.cli.numbers import CLI_CALLER, create_cli_app
from otp_service.cli.send_preview_report import build_members, format_previews
from otp_service.core.errors import InvalidPhoneNumber, InvalidRequest
from otp_service.core.json_lines import InvalidLine, convert_members, parse_json_line
from otp_service.core.phone_number import classify_number
from otp_service.core.send_preview import SendPreview
from otp_service.service.context import Subject
from otp_service.settings import Settings


LOOKUP_REASON = "limits"
"""The reason that `audit.lookup` records: the limits of the person were read, and no events."""

PROMPT_TEXT = "Numbers like +447400123456, or JSON objects, one a line; Ctrl-D ends them."


class SendLine(msgspec.Struct, frozen=True):
    """The members of a JSON line, as an issue has them. Its `repr` omits them: they name a person."""

    phone_number: str
    account: str | None = None
    client_ip: str | None = None

    def __repr__(self) -> str:
        return "SendLine()"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []  # msgspec's own would show them


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "why", run_why, takes_dev_folder=True)
    text = "standard input, which is read in any case: numbers are no arguments"
    parser.add_argument("source", nargs="?", choices=("-",), metavar="-", help=text)
    parser.add_argument("--tenant", help="the tenant that would send; all of them without it")
    text = "preview deliveries, of codes that are checked elsewhere; of a tenant that can only deliver always"
    parser.add_argument("--delivery", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="one JSON object for each tenant")


def run_why(args: argparse.Namespace) -> int:
    """Show which limits would refuse the next code to a number, and until when.

    For each tenant that can send: whether it may send to the number at all, the do-not-send list,
    the lock after failures, and every limit of a send with what is used of it. The
    scopes of the brake on SMS pumping have what is unverified, in money and in messages
    to this country; in record mode one that is full would refuse. After the limits that
    refuse, it lists those that are used to 80 % or more. Nothing is charged and nothing
    is changed; times hold if nothing else is sent until then.

    Numbers (E.164) are read from standard input, one a line. A line that is a JSON
    object can also have `account` and `client_ip`, which have limits of their own; they
    have the form that a call has. Without them those limits are not looked at. Each
    number is recorded as the event audit.lookup, like a search for its events.

    Exit code 0 if every send would be admitted, 1 if one would be refused or Redis is
    unavailable, 2 if a line or an argument is invalid; the other lines are done.

    examples:
      otp-service why -
      otp-service why --tenant shop - < numbers.txt
      otp-service why --delivery --tenant idp - < numbers.txt
      otp-service why --json - < lines.jsonl
    where a line of lines.jsonl is
      {"phone_number": "+447400123456", "account": "u-81", "client_ip": "192.0.2.1"}
    """
    settings = common.read_running_settings(args.config)
    tenants = _choose_tenants(settings, args.tenant)
    lines = dict(common.read_stdin_lines(PROMPT_TEXT))
    if not lines:
        raise UsageError("no number was given: write them to standard input, one a line.")
    subjects, invalid_count = _parse_lines(lines)
    is_refused = asyncio.run(_show_previews(settings, subjects, tenants, args))
    return 2 if invalid_count else int(is_refused)


def _choose_tenants(settings: Settings, name: str | None) -> Sequence[str]:
    names = sorted(settings.tenant_settings)
    if name is not None and name not in names:
        raise UsageError(f"there is no tenant of this name. The tenants are {', '.join(names)}.")
    return sorted(settings.sending_tenants) if name is None else [name]


def _parse_lines(lines: Mapping[int, str]) -> tuple[dict[int, Subject], int]:
    """Return the subjects of the valid lines by their numbers; report and count the others."""
    subjects, invalid_count = {}, 0
    for line, text in lines.items():
        try:
            subjects[line] = parse_send_line(text)
        except CommandError as error:
            invalid_count += 1
            print(f"line {line}: {error}", file=sys.stderr)
    return subjects, invalid_count


def parse_send_line(text: str) -> Subject:
    """Return the person of a line. Raises CommandError, without a value of the line."""
    try:
        is_object = text.startswith("{")
        members = parse_json_line(text) if is_object else {"phone_number": text}
        line = convert_members(members, SendLine)
        if line.account is not None and not common.is_valid_account(line.account):
            raise CommandError(f"{common.INVALID_ACCOUNT_REMEDY}.")
        phone, _ = classify_number(line.phone_number)
        return Subject.from_request(phone, line.account, line.client_ip)
    except InvalidLine as error:
        raise CommandError(f"the line {error}.") from None
    except InvalidPhoneNumber as error:
        raise CommandError(common.describe_invalid_number(error)) from None
    except InvalidRequest:
        raise CommandError("client_ip must be an IPv4 or IPv6 address, like 192.0.2.1.") from None


async def _show_previews(
    settings: Settings,
    subjects: Mapping[int, Subject],
    tenants: Sequence[str],
    args: argparse.Namespace,
) -> bool:
    """Print the previews of each line, and return whether one of the sends would be refused."""
    is_refused, currency = False, settings.build_price_table().currency
    async with create_cli_app(settings) as app:
        await app.brake_sync.read_once()
        for line, subject in subjects.items():
            previews = await _preview_sends(app, subject, tenants, args)
            is_refused |= any(preview.error is not None for preview in previews)
            if args.json:
                shown = [
                    format_json(build_members(line, subject, each, currency)) for each in previews
                ]
            else:
                shown = list(format_previews(subject, previews, currency))
            print(*shown, sep="\n", flush=True)
    return is_refused


async def _preview_sends(
    app: Application, subject: Subject, tenants: Sequence[str], args: argparse.Namespace
) -> list[SendPreview]:
    """Return the previews of a person, after the lookup was recorded."""
    all_tenants = app.settings.build_tenants()
    delivering = [one for one in tenants if args.delivery or not app.settings.can_issue(one)]
    previews = await app.service.send_previewer.preview_sends(
        CLI_CALLER, subject, [all_tenants[name] for name in tenants], delivering
    )
    await app.system_events.record_lookup(
        subject.phone,
        subject.account,
        0,
        tenant=args.tenant,
        key_id=CLI_CALLER.key_id,
        request=CLI_CALLER.request_id,
        by=CLI_CALLER.machine_user,
        reason=LOOKUP_REASON,
    )
    return previews
