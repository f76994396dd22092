"""A person in a search: read from standard input, and recorded before anything is shown."""

import argparse
from collections.abc import Mapping

from otp_service.app import Application
from otp_service.audit.query.reader import EventQuery
from otp_service.cli.command import CommandError
from otp_service.cli.common import (
    INVALID_ACCOUNT_REMEDY,
    is_valid_account,
    parse_typed_number,
    read_stdin_lines,
)
from otp_service.cli.numbers import CLI_CALLER
from otp_service.core.errors import StoreUnavailable
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.printable_text import format_value, has_phone_number, has_word


LOOKUP_UNRECORDED_MESSAGE = """\
a search for a number or an account is recorded in the audit log, which needs Redis: {}."""

STDIN_REMEDIES = {
    ("number",): "write one number to standard input, like +447400123456.",
    ("account",): "write one account to standard input, as its tenant names it.",
    ("number", "account"): "write a number and then an account to standard input, each on a line.",
}
"""What to do if standard input has another number of lines than options that read from it."""


def read_person(args: argparse.Namespace) -> EventQuery:
    """Return the number and the account on standard input, as far as options ask for them."""
    if args.reason is not None and has_phone_number(args.reason):
        raise CommandError("the reason may contain a number, which the audit log must not contain.")
    options = vars(args)
    wanted = tuple(name for name in ("number", "account") if options.get(name) is not None)
    if not wanted:
        return {}
    remedy = STDIN_REMEDIES[wanted]
    lines = [text for _, text in read_stdin_lines(f"{remedy.capitalize()} Ctrl-D ends the input.")]
    if len(lines) != len(wanted):
        raise CommandError(remedy)
    texts = dict(zip(wanted, lines, strict=True))
    return {"number": _parse_number(texts), "account": _parse_account(texts, args.reason or "")}


def _parse_number(texts: Mapping[str, str]) -> PhoneNumber | None:
    return parse_typed_number(texts["number"], allow_fictitious=True) if "number" in texts else None


def _parse_account(texts: Mapping[str, str], reason: str) -> str | None:
    """Return the account. Raises CommandError if it is invalid, or if the reason names it."""
    account = texts.get("account")
    if account is None:
        return None
    if not is_valid_account(account):
        raise CommandError(f"{INVALID_ACCOUNT_REMEDY}.")
    if has_word(reason, account):
        raise CommandError("the reason names the account, which the audit log must not contain.")
    return account


async def record_lookup(
    app: Application, args: argparse.Namespace, query: EventQuery, found: int
) -> None:
    """Record a search for a person, before anything is shown. Raises CommandError without Redis."""
    try:
        await app.system_events.record_lookup(
            query.get("number"),
            query.get("account"),
            found,
            tenant=query.get("tenant"),
            key_id=CLI_CALLER.key_id,
            request=CLI_CALLER.request_id,
            by=CLI_CALLER.machine_user,
            reason=args.reason and format_value(args.reason),
        )
    except StoreUnavailable as error:
        raise CommandError(LOOKUP_UNRECORDED_MESSAGE.format(error.cause or error)) from error
