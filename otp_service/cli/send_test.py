"""`send-test`: one message to one's own phone, and in words what the provider made of it."""

import argparse
import asyncio
import secrets
from collections.abc import Mapping, Sequence

from otp_service.app import now, router_of, senders_of
from otp_service.cli.command import CommandError, Subparsers, command
from otp_service.cli.common import number_in, read_lines, safe_settings
from otp_service.core.delivery import About, Fault, Message, Submission
from otp_service.core.phone_number import PhoneNumber
from otp_service.settings import Settings
from otp_service.sms.http_provider import new_transport
from otp_service.sms.router import Remembered, Tools


TEXT = "{brand}: this is a test of our text messages. It holds no code, and you need do nothing."
VALID_FOR = 300

ACCEPTED = "accepted, id {id}. Now the phone has to show it; if not, ask the provider why."
ANSWERS: Mapping[Fault, str] = {
    Fault.RECIPIENT: "refused the number itself ({reason}). Nothing was sent: try another phone.",
    Fault.UNKNOWN: (
        "no clear answer ({reason}). It may have been sent: look at the phone, then at the "
        "provider's log, before you try again."
    ),
    Fault.PROVIDER: (
        "refused this message ({reason}). Nothing was sent: look the code up with the provider, "
        "and see providers.{provider}."
    ),
}
NOT_SENT: Mapping[About | None, str] = {
    About.SILENCE: (
        "not reached ({reason}). Nothing was sent: see the address in providers.{provider}, then "
        "what stands between this machine and it."
    ),
    About.THROTTLED: (
        "too much at once ({reason}). Nothing was sent: wait a little, and try again. If it stays so, "
        "ask the provider for a higher rate, or give it a smaller share in [routing]."
    ),
    About.ACCOUNT: (
        "refused the account, not this message ({reason}). Nothing was sent. {remedy}\n"
        "    Until then every message there fails and the next provider has to take it."
    ),
}
"""Of what was certainly not sent, and is not the number's fault, by what the refusal speaks of."""

REMEDIES = {
    "http-401": "Credentials: see those in providers.{provider}.",
    "http-402": "No credit: pay, or raise the account's limit, at the provider.",
    "http-403": "Not allowed: see which countries and senders are switched on for the account.",
}
REMEDY = (
    "Look the code up with the provider; it is one of these:\n"
    "    - wrong sender: {sender} has to be the account's own, and be allowed in {country}; see\n"
    "      providers.{provider}.sender and .senders.{country}\n"
    "    - geo permission off: switch {country} on in the account\n"
    "    - no credit, or the account is suspended or on trial\n"
    "    - wrong credentials in providers.{provider}"
)


def add(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = command(subparsers, "send-test", run)
    parser.add_argument("number", nargs="?", help="strict E.164 form, like +447400123456")
    parser.add_argument("--provider", help="only this one (the chain of [routing])")
    parser.add_argument("--tenant", help="whose brand and sender (the first one)")


def run(known: argparse.Namespace) -> int:
    """Send a test message without a code.

    One text message goes through the chain of providers, or through one of them, and
    what was answered is told with what to do about it. It costs what a message costs,
    and asks neither limits nor do-not-send list nor Redis. Exit code 1 if it was not
    accepted. The number may be an argument, since it is meant to be your own phone's;
    without it, it is read from standard input.

    examples:
      otp-service send-test +447400123456
      otp-service send-test +447400123456 --provider gateway --tenant shop
    """
    settings = safe_settings(known.config)
    number = known.number or next((line for _, line in read_lines()), "")
    phone = number_in(number, fictitious=settings.mode == "test")
    message = _message(settings, phone, known.tenant or next(iter(settings.tenant_tables)))
    print(f"To {phone.masked}, outside of limits and do-not-send list:", flush=True)
    submissions = asyncio.run(_send(settings, message, known.provider))
    for one in submissions:
        print(f"  {one.provider}, {one.milliseconds} ms: {in_words(one, message)}")
    return 0 if submissions[-1].outcome == "accepted" else 1


def in_words(made: Submission, message: Message) -> str:
    """Return what the provider made of the message, and what to do about it."""
    if made.fault is None:
        return ACCEPTED.format(id=made.message_id)
    text = ANSWERS[made.fault]
    if made.fault is Fault.PROVIDER:
        text = NOT_SENT.get(made.about, text)
    remedy = REMEDIES.get(made.reason or "", REMEDY)
    sender = f"'{message.sender}'" if message.sender else "the sender"
    known = {"reason": made.reason, "provider": made.provider}
    return text.format(
        remedy=remedy.format(**known, country=message.to.country, sender=sender), **known
    )


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
        senders = senders_of(settings, Tools(transport, now))
        router = router_of(settings, senders, Remembered())
        if only is None:
            return await router.send(message)
        try:
            return [await router.submit_one(only, message)]
        except LookupError:
            there = ", ".join(router.names)
            raise CommandError(f"routing.providers has no {only}; it has {there}.") from None
