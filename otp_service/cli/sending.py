"""`send-test`: one message to one's own phone, and in words what the provider made of it."""

import argparse
import asyncio
import secrets
from collections.abc import Sequence

from otp_service.app import router_of, senders_of
from otp_service.cli.config import add_option, safe_settings
from otp_service.cli.console import Subparsers, command, read_lines, remedy
from otp_service.cli.errors import CommandError
from otp_service.core.delivery import Fault, Message, Submission
from otp_service.core.errors import InvalidPhoneNumber, NumberNotAllowed
from otp_service.core.phone import PhoneNumber, parse
from otp_service.settings import Settings
from otp_service.sms.http import new_transport


TEXT = "{brand}: this is a test of our text messages. It holds no code, and you need do nothing."
VALID_FOR = 300

NEVER_THERE = ("dns-error", "tls-error", "connect-error", "connect-timeout", "invalid-url")
"""Reasons for which nothing reached the provider (`sms/http.py`)."""


def add(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = command(
        subparsers,
        "send-test",
        run,
        brief="send a test message without a code",
        about=(
            "Sends one text message through the chain of providers, or through one of them, and "
            "says what was answered and what to do about it. It costs what a message costs, and "
            "asks neither limits nor do-not-send list nor Redis. Exit code 1 if it was not "
            "accepted. The number may be an argument, since it is meant to be your own phone's; "
            "without it, it is read from standard input."
        ),
        examples=(
            "otp-service send-test +447400123456",
            "otp-service send-test +447400123456 --provider gateway --tenant shop",
        ),
    )
    parser.add_argument("number", nargs="?", help="strict E.164 form, like +447400123456")
    parser.add_argument("--provider", help="only this one (the chain of [routing])")
    parser.add_argument("--tenant", help="whose brand and sender (the first one)")
    add_option(parser)


def run(known: argparse.Namespace) -> int:
    """Send it; 0 only if a provider took it."""
    settings = safe_settings(known.config)
    number = known.number or next((line for _, line in read_lines()), "")
    try:
        phone = parse(number, allow_fictitious=settings.mode == "test")
    except (InvalidPhoneNumber, NumberNotAllowed) as error:
        raise CommandError(f"nothing was sent: {remedy(error)}") from error
    message = _message(settings, phone, known.tenant or next(iter(settings.tenant_tables)))
    print(f"To {phone.masked}, outside of limits and do-not-send list:", flush=True)
    submissions = asyncio.run(_send(settings, message, known.provider))
    for submission in submissions:
        print(f"  {submission.provider}, {submission.milliseconds} ms: {_in_words(submission)}")
    return 0 if submissions[-1].outcome == "accepted" else 1


def _message(settings: Settings, phone: PhoneNumber, tenant: str) -> Message:
    table = settings.tenant_tables.get(tenant)
    if table is None:
        there = ", ".join(settings.tenant_tables)
        raise CommandError(f"no tenant is called {tenant}; there is {there}.")
    return Message(
        to=phone,
        text=TEXT.format(brand=table.brand),
        reference=f"test-{secrets.token_hex(8)}",
        valid_for=VALID_FOR,
        sender=table.sender,
        tenant=tenant,
    )


async def _send(settings: Settings, message: Message, only: str | None) -> Sequence[Submission]:
    async with new_transport() as transport:
        router = router_of(settings, senders_of(settings, transport))
        if only is None:
            return await router.send(message)
        try:
            return [await router.submit_one(only, message)]
        except LookupError:
            there = ", ".join(router.names)
            raise CommandError(f"routing.providers has no {only}; it has {there}.") from None


def _in_words(made: Submission) -> str:
    """Return what was answered, whose fault it is, and what to do about it."""
    settings = f"providers.{made.provider}"
    if made.outcome == "accepted":
        named = f" as {made.message_id}" if made.message_id else ""
        return f"accepted{named}. Now the phone has to show it; if not, ask the provider why."
    if made.fault is Fault.RECIPIENT:
        return f"refused the number itself ({made.reason}). Nothing was sent: try another phone."
    if made.fault is Fault.UNKNOWN:
        return (
            f"no clear answer ({made.reason}). It may have been sent: look at the phone, then at "
            f"the provider's log, before you try again."
        )
    if made.reason in NEVER_THERE:
        return (
            f"could not be reached ({made.reason}). Nothing was sent: see the address in {settings}"
            " and whether this machine may connect to it."
        )
    return (
        f"refused ({made.reason}). Nothing was sent: see the credentials in {settings}, then the "
        "account with the provider: credit, sender, and countries it may send to."
    )
