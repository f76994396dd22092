"""`send-test`: one message to one's own phone, and an explanation of the provider's answer."""

import argparse
import asyncio
import secrets
from collections.abc import Mapping, Sequence

from otp_service.app import create_providers, create_router
from otp_service.cli.command import CommandError, Subparsers, add_command
from otp_service.cli.common import parse_typed_number, read_safe_settings, read_stdin_lines
from otp_service.clock import now_ms
from otp_service.core.delivery import Fault, Message, RefusalScope, Submission
from otp_service.core.phone_number import PhoneNumber
from otp_service.settings import Settings
from otp_service.sms.http_provider import create_transport
from otp_service.sms.router import LocalProviderHealth, ProviderDependencies


MESSAGE_TEXT = (
    "{brand}: this is a test of our text messages. It holds no code, and you need do nothing."
)
VALIDITY_SECONDS = 300
"""For how long a provider may try to deliver the test; not the lifetime of a code."""

ACCEPTED_MESSAGE = (
    "accepted, id {id}. Look at the phone; if it shows nothing, ask the provider why."
)
REFUSAL_MESSAGES: Mapping[Fault, str] = {
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
NOT_SENT_MESSAGES: Mapping[RefusalScope | None, str] = {
    RefusalScope.SILENCE: (
        "not reached ({reason}). Nothing was sent: see the address in providers.{provider}, then "
        "the network between this machine and it."
    ),
    RefusalScope.THROTTLED: (
        "too much at once ({reason}). Nothing was sent: wait a little, and try again. If it repeats, "
        "ask the provider for a higher rate, or give it a smaller share in [routing]."
    ),
    RefusalScope.ACCOUNT: (
        "refused the account, not this message ({reason}). Nothing was sent. {remedy}\n"
        "    Until then every message to this provider fails, and the next provider sends it."
    ),
}
"""By the scope of a refusal, for messages that were certainly not sent; the number is not at fault."""

TEMPLATE_CODE = "000000"
"""For a gateway that has the text as a template: it proves nothing."""

REMEDY_BY_REASON = {
    "invalid-request": "A setting of providers.{provider} cannot be sent: see `otp-service check`.",
    "http-401": "Credentials: see those in providers.{provider}.",
    "http-402": "No credit: pay, or raise the account's limit, at the provider.",
    "http-403": "Not allowed: see which countries and senders are switched on for the account.",
    **dict.fromkeys(
        ("30029", "30030"),  # Twilio
        "Message Redaction is not enabled for the account: ask Twilio for it, or remove "
        "message_redaction from providers.{provider}.",
    ),
}
DEFAULT_REMEDY = (
    "Look the code up with the provider. Usual causes:\n"
    "    - wrong sender: {sender} must belong to the account and be allowed in {country}; see\n"
    "      providers.{provider}.sender and .senders.{country}\n"
    "    - geo permission off: switch {country} on in the account\n"
    "    - no credit, or the account is suspended or on trial\n"
    "    - wrong credentials in providers.{provider}"
)


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "send-test", run_send_test)
    parser.add_argument("number", nargs="?", help="strict E.164 form, like +447400123456")
    parser.add_argument("--provider", help="the only provider to try (the chain of [routing])")
    parser.add_argument("--tenant", help="tenant whose brand and sender are used (the first one)")


def run_send_test(args: argparse.Namespace) -> int:
    """Send a test message without a code.

    Sends one text message through the chain of providers, or through one of them, and
    explains each answer and what to do about it. The message costs what a message
    costs. Limits, do-not-send list and Redis are not used. The number can be an
    argument, since it is meant to be that of your own phone; without one, it is read
    from standard input.

    Exit code 0 if a provider accepted the message, 1 if not.

    examples:
      otp-service send-test < number.txt
      otp-service send-test +447400123456
      otp-service send-test +447400123456 --provider gateway --tenant shop
    """
    settings = read_safe_settings(args.config)
    number = args.number or next((line for _, line in read_stdin_lines()), "")
    phone = parse_typed_number(number, allow_fictitious=settings.accepts_fictitious)
    message = _build_message(settings, phone, args.tenant or next(iter(settings.tenant_settings)))
    print(f"To {phone.masked}, outside of limits and do-not-send list:", flush=True)
    submissions = asyncio.run(_send_message(settings, message, args.provider))
    for submission in submissions:
        description = describe_submission(submission, message)
        print(f"  {submission.provider}, {submission.milliseconds} ms: {description}")
    return 0 if submissions[-1].outcome == "accepted" else 1


def describe_submission(submission: Submission, message: Message) -> str:
    """Return how the provider answered, and what to do about it."""
    if submission.fault is None:
        return ACCEPTED_MESSAGE.format(id=submission.message_id)
    text = REFUSAL_MESSAGES[submission.fault]
    if submission.fault is Fault.PROVIDER:
        text = NOT_SENT_MESSAGES.get(submission.scope, text)
    remedy = REMEDY_BY_REASON.get(submission.reason or "", DEFAULT_REMEDY)
    sender = f"'{message.sender}'" if message.sender else "the sender"
    values = {"reason": submission.reason, "provider": submission.provider}
    remedy = remedy.format(**values, country=message.to.country, sender=sender)
    return text.format(remedy=remedy, **values)


def _build_message(settings: Settings, phone: PhoneNumber, tenant: str) -> Message:
    table = settings.tenant_settings.get(tenant)
    if table is None:
        names = ", ".join(settings.tenant_settings)
        raise CommandError(f"there is no tenant {tenant}; there is {names}.")
    return Message(
        to=phone,
        text=MESSAGE_TEXT.format(brand=table.get_brand(tenant)),
        reference=f"test-{secrets.token_hex(8)}",
        validity_seconds=VALIDITY_SECONDS,
        code=TEMPLATE_CODE,
        minutes=VALIDITY_SECONDS // 60,
        brand=table.get_brand(tenant),
        sender=table.sender,
        tenant=tenant,
    )


async def _send_message(
    settings: Settings, message: Message, provider: str | None
) -> Sequence[Submission]:
    async with create_transport() as transport:
        senders = create_providers(settings, ProviderDependencies(transport, now_ms))
        router = create_router(settings, senders, LocalProviderHealth())
        if provider is None:
            return await router.send(message)
        try:
            return [await router.send_via(provider, message)]
        except LookupError:
            names = ", ".join(router.provider_names)
            raise CommandError(f"routing.providers has no {provider}; it has {names}.") from None
