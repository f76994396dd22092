"""SMPP: the cases of the contract against an SMSC of our own, and the settings."""

import asyncio

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault, RefusalScope, Refused
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.secret import Secret
from otp_service.sms.providers import Provider
from otp_service.sms.providers.smpp import Smpp, SmppProvider
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.smpp.pdu import (
    ENQUIRE_LINK,
    GENERIC_NACK,
    RESPONSE_BIT,
    SUBMIT_SM,
)
from otp_service.sms.smpp.pdu_bodies import SmppAddress
from tests.sms.smpp.samples import build_settings, build_silence_refusal


# The contract (test_contract.py), as far as there is HTTP in no case of it.


def test_settings_of_the_contract_are_safe():
    """What is tested here would pass `check`."""
    assert [] == build_settings(2775).find_errors()


async def test_accepted(smsc, provider, message):
    """An accepted message has the SMSC's own id."""
    reply = await provider.send(message)

    assert Accepted("7a2f") == reply
    (sent,) = smsc.messages
    assert message.text.encode() == sent.text
    assert ((5, 0), "Example") == (sent.source.ton_npi, sent.source.text)
    assert ((1, 1), "447400123456") == (sent.destination.ton_npi, sent.destination.text)
    assert ("000000000450000R", 1, 0) == (sent.validity, sent.registered_delivery, sent.data_coding)


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (0x0B, Refused(Fault.RECIPIENT, "smpp-0b")),
        (0x65, Refused(Fault.PROVIDER, "smpp-65")),
        (0x0A, Refused(Fault.PROVIDER, "smpp-0a", None, RefusalScope.ACCOUNT)),
        (0x0D, Refused(Fault.PROVIDER, "smpp-0d", None, RefusalScope.ACCOUNT)),
        (0x0E, Refused(Fault.PROVIDER, "smpp-0e", None, RefusalScope.ACCOUNT)),
        (0x0F, Refused(Fault.PROVIDER, "smpp-0f", None, RefusalScope.ACCOUNT)),
        (0x14, Refused(Fault.PROVIDER, "smpp-14", None, RefusalScope.THROTTLED)),
        (0x58, Refused(Fault.PROVIDER, "smpp-58", None, RefusalScope.THROTTLED)),
        (0x08, Refused(Fault.PROVIDER, "smpp-08")),
        (0x45, Refused(Fault.PROVIDER, "smpp-45")),
        (0x0400, Refused(Fault.PROVIDER, "smpp-400")),
        (0x864209, Refused(Fault.PROVIDER, "smpp-other")),
    ],
)
async def test_refusals(smsc, provider, message, status, refused):
    """Every code of the table, and those that are in none: the provider's, never the number's."""
    smsc.set_submit_reply(status)

    assert refused == await provider.send(message)


@pytest.mark.parametrize(
    ("body", "message_id"),
    [(b"", None), (b"\0", None), (b"7a", "7a"), (b"7a\0\x14\x24", "7a"), (b"\xff\xfe\0", None)],
)
async def test_status_0_alone_says_that_it_was_taken(smsc, provider, message, body, message_id):
    """Some SMSCs leave out the NUL of the id or the whole body; a second message would follow."""
    smsc.set_submit_reply(body=body)

    assert Accepted(message_id) == await provider.send(message)


async def test_a_message_that_cannot_be_written_was_not_sent(smsc, provider, message):
    """A name that is no ASCII slipped through: the provider's fault, and nothing was written."""
    message = msgspec.structs.replace(message, sender="Gr\u00fcn")

    reply = await provider.send(message)

    assert Refused(Fault.PROVIDER, "invalid-request", None, RefusalScope.ACCOUNT) == reply
    assert [] == smsc.messages


async def test_credentials_that_cannot_be_written_bind_nothing(smsc, create_provider, message):
    """The same for a bind: each message gets the reason at once."""
    provider = create_provider(password=Secret("\ufeffs3cret"))

    refusals = [await provider.send(message) for _ in range(2)]

    assert [Refused(Fault.PROVIDER, "invalid-request", None, RefusalScope.ACCOUNT)] * 2 == refusals
    assert [] == smsc.received_pdus


async def test_an_answer_to_something_else(smsc, provider, message):
    """It may mean anything."""
    smsc.set_submit_reply(command=ENQUIRE_LINK | RESPONSE_BIT)

    assert Refused(Fault.UNKNOWN, "bad-reply") == await provider.send(message)


async def test_not_understood(smsc, provider, message):
    """A generic_nack (4.3) is a refusal too."""
    smsc.set_submit_reply(0x03, command=GENERIC_NACK)

    assert Refused(Fault.PROVIDER, "smpp-03") == await provider.send(message)


@pytest.mark.parametrize("octets", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(16), b"\xff" * 64])
async def test_not_what_it_should_be(smsc, provider, message, octets):
    """What is no PDU ends the link; the message may have been sent (R88)."""
    smsc.ignore_submits()
    sending = asyncio.create_task(provider.send(message))
    await smsc.wait_for_pdus(SUBMIT_SM)

    for writer in smsc._writers.values():
        writer.write(octets)

    assert build_silence_refusal(Fault.UNKNOWN, "disconnected") == await sending


async def test_connect_timeout(unresponsive_url, message):
    """Nothing was sent, so it is the provider's fault (waits for the timeout itself)."""
    port = int(unresponsive_url.rstrip("/").rpartition(":")[2])
    provider = SmppProvider(
        "acme", build_settings(port, connect_timeout=0.4), ProviderDependencies(None, lambda: 0)
    )

    assert build_silence_refusal(Fault.PROVIDER, "connect-timeout") == await provider.send(message)

    await provider.aclose()


async def test_no_process_listens(smsc, provider, message):
    """The same, at once."""
    await smsc.stop_listening()

    assert build_silence_refusal(Fault.PROVIDER, "connect-error") == await provider.send(message)


async def test_no_such_name(create_provider, message):
    """The same. (.invalid resolves nowhere, RFC 6761.)"""
    provider = create_provider(host="smsc.invalid")

    assert build_silence_refusal(Fault.PROVIDER, "dns-error") == await provider.send(message)


async def test_read_timeout(smsc, create_provider, message):
    """The message was written, so it may have been sent (waits for the timeout itself)."""
    provider = create_provider(reply_timeout=0.4)
    smsc.ignore_submits()

    assert build_silence_refusal(Fault.UNKNOWN, "read-timeout") == await provider.send(message)
    assert 1 == len(smsc.messages)


async def test_lost_while_waiting(smsc, provider, message):
    """It may have been sent: the connection says nothing of it."""
    smsc.ignore_submits()
    sending = asyncio.create_task(provider.send(message))
    await smsc.wait_for_pdus(SUBMIT_SM)

    smsc.drop_connections()

    assert build_silence_refusal(Fault.UNKNOWN, "disconnected") == await sending


# Settings.


def test_settings_are_read_by_their_type():
    """The tag is all that there is of a registration."""
    given = {"type": "smpp", "host": "smsc.example", "tls": True, "system_id": "a", "password": "b"}

    read = msgspec.convert(given, Provider, dec_hook=lambda _, value: Secret(value))

    assert Smpp(host="smsc.example", tls=True, system_id="a", password=Secret("b")) == read
    assert [] == read.find_errors()


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("tls", {"host": "smsc.example"}),
        ("tls", {"host": "10.0.0.1"}),
        ("host", {"host": ""}),
        ("host", {"host": "smsc.example:2775", "tls": True}),
        ("system_id", {"system_id": "a" * 16}),
        ("system_type", {"system_type": "é"}),
        ("password", {"password": Secret("a\0b")}),
        ("sender", {"sender": "é"}),
        ("senders.GB", {"senders": {"GB": "a" * 21}}),
        ("senders.US", {"senders": {"US": "Example"}}),
    ],
)
def test_faults(field, more):
    """Unsafe and impossible settings are reported before anything is sent."""
    faults = build_settings(2775, **more).find_errors()

    assert field in [name for name, _ in faults]
    assert "a\0b" not in str(faults)


def test_a_number_is_the_sender_where_a_name_will_not_do(message):
    """In the US and Canada (R44)."""
    american = msgspec.structs.replace(message, to=PhoneNumber("+12125550123", "US", 1))
    both = build_settings(2775, senders={"US": "+12125550199"})

    assert "12125550199" == both.build_short_message(american).source.text
    assert SmppAddress() == build_settings(2775).build_short_message(american).source
    assert (True, False) == (both.can_serve("US"), build_settings(2775).can_serve("US"))
    assert build_settings(2775).can_serve("GB")


def test_ucs2(message):
    """5.2.19: what is not in the default alphabet."""
    sent = build_settings(2775).build_short_message(
        msgspec.structs.replace(message, text="864209 код")
    )

    assert (8, "864209 код") == (sent.data_coding, sent.text.decode("utf-16-be"))
