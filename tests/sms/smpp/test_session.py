"""What a session has besides: it binds, asks, is lost and comes back."""

import asyncio
import ssl
from contextlib import suppress

import pytest

from otp_service.core.delivery import Accepted, Fault, RefusalScope, Refused
from otp_service.sms.providers.smpp import SmppProvider
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.smpp import session
from otp_service.sms.smpp.pdu import (
    BIND_TRANSCEIVER,
    ENQUIRE_LINK,
    GENERIC_NACK,
    RESPONSE_BIT,
    UNBIND,
    Pdu,
)
from otp_service.sms.smpp.pdu_bodies import BindRequest
from tests.sms.smpp.fake_smsc import FakeSmsc
from tests.sms.smpp.samples import build_settings, build_silence_refusal, decode_bind


@pytest.fixture
def quick(monkeypatch):
    """A lost link is made again soon."""
    monkeypatch.setattr(session, "FIRST_BACKOFF_SECONDS", 0.05)


async def until(provider, message, reason):
    """Send again and again until this is the reason, or None for acceptance."""
    for _ in range(500):
        reply = await provider.send(message)
        if reason == getattr(reply, "reason", None):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(reply)


async def test_binds_once_as_transceiver(smsc, create_provider, message):
    """With all that says who we are (4.1.5), and for any number of messages."""
    provider = create_provider(system_type="OTP")

    await asyncio.gather(*(provider.send(message) for _ in range(5)))
    await provider.send(message)

    (bind,) = smsc.list_pdus(BIND_TRANSCEIVER)
    assert BindRequest(system_id="tester", password="s3cret", system_type="OTP") == decode_bind(
        bind.body
    )
    assert 6 == len(smsc.messages)


@pytest.mark.parametrize(
    ("status", "about"),
    [
        (0x0D, RefusalScope.ACCOUNT),
        (0x0E, RefusalScope.ACCOUNT),
        (0x0F, RefusalScope.ACCOUNT),
        (0x58, RefusalScope.THROTTLED),
        (0x0B, RefusalScope.SILENCE),
        (0x08, RefusalScope.SILENCE),
    ],
)
async def test_a_bind_that_is_refused(smsc, provider, message, status, about):
    """Nothing was sent; and whatever the code is, it is not about the number."""
    smsc.bind_status = status

    reply = await provider.send(message)

    assert Refused(Fault.PROVIDER, f"smpp-{status:02x}", None, about) == reply
    assert not smsc.messages


async def test_a_bind_without_an_answer(smsc, create_provider, message):
    """Nothing was sent (waits for the timeout itself)."""
    provider = create_provider(connect_timeout=1.0)
    smsc.ignored_commands.add(BIND_TRANSCEIVER)

    assert build_silence_refusal(Fault.PROVIDER, "bind-timeout") == await provider.send(message)


async def test_who_rests_says_so_at_once(smsc, provider, message):
    """The next provider is not kept waiting."""
    smsc.bind_status = 0x0E
    await provider.send(message)

    replies = [await provider.send(message) for _ in range(20)]

    assert {"smpp-0e"} == {reply.reason for reply in replies}
    assert 1 == len(smsc.list_pdus(BIND_TRANSCEIVER))


@pytest.mark.usefixtures("quick")
async def test_binds_again_when_the_centre_is_back(smsc, create_provider, message):
    """By itself, also without a message: receipts have to arrive."""
    provider = create_provider()
    await provider.send(message)
    await smsc.stop_listening()
    await until(provider, message, "connect-error")

    await smsc.start_listening()

    await smsc.wait_for_pdus(BIND_TRANSCEIVER, 2)
    await until(provider, message, None)


@pytest.mark.usefixtures("quick")
async def test_leaves_when_the_centre_unbinds(smsc, create_provider, message):
    """4.2: it is answered, nothing more is sent over that link, and another one is made."""
    provider = create_provider()
    await provider.send(message)

    await smsc.send_pdu(Pdu(UNBIND, 7))

    (answer,) = await smsc.wait_for_pdus(UNBIND | RESPONSE_BIT)
    assert (7, 0) == (answer.sequence, answer.status)
    await smsc.wait_for_pdus(BIND_TRANSCEIVER, 2)


async def test_unbinds(smsc, create_provider, message):
    """When it is closed; and closing what never was open does nothing."""
    provider = create_provider()
    await provider.aclose()
    await provider.send(message)

    await provider.aclose()

    assert 1 == len(smsc.list_pdus(UNBIND))
    async with asyncio.timeout(5):
        await asyncio.gather(*smsc._writers)
    assert not smsc._writers


async def test_closed_while_it_connects(unresponsive_url, message):
    """A caller that waits for the connection receives the result at once."""
    port = int(unresponsive_url.rstrip("/").rpartition(":")[2])
    provider = build_settings(port, connect_timeout=30.0).build_provider(
        "acme", ProviderDependencies(None, lambda: 0)
    )
    sending = asyncio.create_task(provider.send(message))
    await asyncio.sleep(0.05)

    await provider.aclose()

    assert build_silence_refusal(Fault.PROVIDER, "closed") == await sending


async def test_asks_whether_the_centre_is_there(smsc, create_provider, message):
    """4.11: again and again, as long as it is answered."""
    provider = create_provider(enquire_every=0.05)
    await provider.send(message)

    asked = await smsc.wait_for_pdus(ENQUIRE_LINK, 3)

    assert 1 == len(smsc.list_pdus(BIND_TRANSCEIVER))
    assert sorted({pdu.sequence for pdu in asked}) == [pdu.sequence for pdu in asked]


@pytest.mark.usefixtures("quick")
async def test_a_centre_that_does_not_answer_is_left(smsc, create_provider, message):
    """Its connection is open and dead: only enquire_link detects it."""
    provider = create_provider(enquire_every=0.05, reply_timeout=0.4)
    smsc.ignored_commands.add(ENQUIRE_LINK)

    await provider.send(message)

    await smsc.wait_for_pdus(BIND_TRANSCEIVER, 2)


async def test_answers_what_it_is_asked(smsc, provider, message):
    """enquire_link with its response, and an unknown command with a generic_nack (4.3)."""
    await provider.send(message)

    await smsc.send_pdu(Pdu(ENQUIRE_LINK, 41))
    await smsc.send_pdu(Pdu(0x0102, 42))

    (alive,) = await smsc.wait_for_pdus(ENQUIRE_LINK | RESPONSE_BIT)
    (nack,) = await smsc.wait_for_pdus(GENERIC_NACK)
    assert (41, 0) == (alive.sequence, alive.status)
    assert (42, 0x03) == (nack.sequence, nack.status)


async def test_no_more_at_once_than_the_window(smsc, create_provider, message):
    """2.9: a message without a free slot was not sent, and is refused as such."""
    provider = create_provider(window=2, connect_timeout=1.0, reply_timeout=3.0)
    await provider.send(message)
    smsc.ignore_submits()

    replies = await asyncio.gather(*(provider.send(message) for _ in range(3)))

    assert 1 + 2 == len(smsc.messages)
    assert ["read-timeout", "read-timeout", "window-full"] == [each.reason for each in replies]
    assert build_silence_refusal(Fault.PROVIDER, "window-full") == replies[2]


async def test_a_place_in_the_window_comes_back(smsc, create_provider, message):
    """Also from a caller that waited in vain, or was canceled."""
    provider = create_provider(window=1, reply_timeout=0.4)
    smsc.ignore_submits()
    await provider.send(message)
    with suppress(TimeoutError):
        await asyncio.wait_for(provider.send(message), 0.02)
    smsc.ignored_commands.clear()

    assert Accepted("7a2f") == await provider.send(message)


async def test_tls(certificate, message):
    """An SMSC needs a trusted certificate; all else is as without TLS."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with FakeSmsc(tls=tls) as centre:
        given = build_settings(centre.port, tls=True)
        tools = ProviderDependencies(None, lambda: 0)
        doubting = given.build_provider("acme", tools)
        trusting = SmppProvider(
            "acme", given, tools, tls_context=ssl.create_default_context(cafile=certificate)
        )

        assert build_silence_refusal(Fault.PROVIDER, "tls-error") == await doubting.send(message)
        assert not centre.received_pdus
        assert Accepted("7a2f") == await trusting.send(message)

        await doubting.aclose()
        await trusting.aclose()


async def test_tls_where_there_is_none(gateway, message):
    """What listens there speaks another language, and waits for the end of a line."""
    port = int(gateway.url.split(":")[2].split("/")[0])
    given = build_settings(port, tls=True, connect_timeout=0.4)
    provider = given.build_provider("acme", ProviderDependencies(None, lambda: 0))

    assert build_silence_refusal(Fault.PROVIDER, "connect-timeout") == await provider.send(message)

    await provider.aclose()
