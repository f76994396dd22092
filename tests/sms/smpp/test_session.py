"""What a session has besides: it binds, asks, is lost and comes back."""

import asyncio
import ssl
from contextlib import suppress

import pytest

from otp_service.core.delivery import About, Accepted, Fault, Refused
from otp_service.sms.providers.smpp import SmppProvider
from otp_service.sms.router import Tools
from otp_service.sms.smpp import session
from otp_service.sms.smpp.pdu import (
    BIND_TRANSCEIVER,
    ENQUIRE_LINK,
    GENERIC_NACK,
    RESPONSE,
    UNBIND,
    Pdu,
)
from otp_service.sms.smpp.pdu_bodies import Bind
from tests.sms.smpp.fake_smsc import Centre
from tests.sms.smpp.samples import settings, silence


@pytest.fixture
def quick(monkeypatch):
    """A lost link is made again soon."""
    monkeypatch.setattr(session, "FIRST_REST", 0.05)


async def until(provider, message, reason):
    """Send again and again until this is the reason, or None for acceptance."""
    for _ in range(500):
        reply = await provider.send(message)
        if reason == getattr(reply, "reason", None):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(reply)


async def test_binds_once_as_transceiver(centre, made, message):
    """With all that says who we are (4.1.5), and for any number of messages."""
    provider = made(system_type="OTP")

    await asyncio.gather(*(provider.send(message) for _ in range(5)))
    await provider.send(message)

    (bind,) = centre.of(BIND_TRANSCEIVER)
    assert Bind(system_id="tester", password="s3cret", system_type="OTP") == Bind.decode(bind.body)
    assert 6 == len(centre.messages)


@pytest.mark.parametrize(
    ("status", "about"),
    [
        (0x0D, About.ACCOUNT),
        (0x0E, About.ACCOUNT),
        (0x0F, About.ACCOUNT),
        (0x58, About.THROTTLED),
        (0x0B, About.SILENCE),
        (0x08, About.SILENCE),
    ],
)
async def test_a_bind_that_is_refused(centre, provider, message, status, about):
    """Nothing was sent; and whatever the code is, it is not about the number."""
    centre.bind_status = status

    reply = await provider.send(message)

    assert Refused(Fault.PROVIDER, f"smpp-{status:02x}", None, about) == reply
    assert not centre.messages


async def test_a_bind_without_an_answer(centre, made, message):
    """Nothing was sent (waits for the timeout itself)."""
    provider = made(connect_timeout=1.0)
    centre.is_silent_to.add(BIND_TRANSCEIVER)

    assert silence(Fault.PROVIDER, "bind-timeout") == await provider.send(message)


async def test_who_rests_says_so_at_once(centre, provider, message):
    """The next provider is not kept waiting."""
    centre.bind_status = 0x0E
    await provider.send(message)

    replies = [await provider.send(message) for _ in range(20)]

    assert {"smpp-0e"} == {reply.reason for reply in replies}
    assert 1 == len(centre.of(BIND_TRANSCEIVER))


@pytest.mark.usefixtures("quick")
async def test_binds_again_when_the_centre_is_back(centre, made, message):
    """By itself, also if nobody sends: receipts have to come in."""
    provider = made()
    await provider.send(message)
    await centre.leave()
    await until(provider, message, "connect-error")

    await centre.listen()

    await centre.hears(BIND_TRANSCEIVER, 2)
    await until(provider, message, None)


@pytest.mark.usefixtures("quick")
async def test_leaves_when_the_centre_unbinds(centre, made, message):
    """4.2: it is answered, nothing more is sent over that link, and another one is made."""
    provider = made()
    await provider.send(message)

    await centre.sends(Pdu(UNBIND, 7))

    (answer,) = await centre.hears(UNBIND | RESPONSE)
    assert (7, 0) == (answer.sequence, answer.status)
    await centre.hears(BIND_TRANSCEIVER, 2)


async def test_unbinds(centre, made, message):
    """When it is closed; and closing what never was open does nothing."""
    provider = made()
    await provider.aclose()
    await provider.send(message)

    await provider.aclose()

    assert 1 == len(centre.of(UNBIND))
    async with asyncio.timeout(5):
        await asyncio.gather(*centre._writers)
    assert not centre._writers


async def test_closed_while_it_connects(deaf_url, message):
    """Who waits for it is told."""
    port = int(deaf_url.rstrip("/").rpartition(":")[2])
    provider = settings(port, connect_timeout=30.0).as_sender("acme", Tools(None, lambda: 0))
    sending = asyncio.create_task(provider.send(message))
    await asyncio.sleep(0.05)

    await provider.aclose()

    assert silence(Fault.PROVIDER, "closed") == await sending


async def test_asks_whether_the_centre_is_there(centre, made, message):
    """4.11: again and again, as long as it is answered."""
    provider = made(enquire_every=0.05)
    await provider.send(message)

    asked = await centre.hears(ENQUIRE_LINK, 3)

    assert 1 == len(centre.of(BIND_TRANSCEIVER))
    assert sorted({pdu.sequence for pdu in asked}) == [pdu.sequence for pdu in asked]


@pytest.mark.usefixtures("quick")
async def test_a_centre_that_does_not_answer_is_left(centre, made, message):
    """Its connection stands and is dead: only enquire_link tells."""
    provider = made(enquire_every=0.05, reply_timeout=0.4)
    centre.is_silent_to.add(ENQUIRE_LINK)

    await provider.send(message)

    await centre.hears(BIND_TRANSCEIVER, 2)


async def test_answers_what_it_is_asked(centre, provider, message):
    """enquire_link with its answer, and what nobody knows with a generic_nack (4.3)."""
    await provider.send(message)

    await centre.sends(Pdu(ENQUIRE_LINK, 41))
    await centre.sends(Pdu(0x0102, 42))

    (alive,) = await centre.hears(ENQUIRE_LINK | RESPONSE)
    (nack,) = await centre.hears(GENERIC_NACK)
    assert (41, 0) == (alive.sequence, alive.status)
    assert (42, 0x03) == (nack.sequence, nack.status)


async def test_no_more_at_once_than_the_window(centre, made, message):
    """2.9: and who finds no place is told so, for nothing was sent."""
    provider = made(window=2, connect_timeout=1.0, reply_timeout=3.0)
    await provider.send(message)
    centre.hangs()

    replies = await asyncio.gather(*(provider.send(message) for _ in range(3)))

    assert 1 + 2 == len(centre.messages)
    assert ["read-timeout", "read-timeout", "window-full"] == [each.reason for each in replies]
    assert silence(Fault.PROVIDER, "window-full") == replies[2]


async def test_a_place_in_the_window_comes_back(centre, made, message):
    """Also from who waited in vain, or was told to stop waiting."""
    provider = made(window=1, reply_timeout=0.4)
    centre.hangs()
    await provider.send(message)
    with suppress(TimeoutError):
        await asyncio.wait_for(provider.send(message), 0.02)
    centre.is_silent_to.clear()

    assert Accepted("7a2f") == await provider.send(message)


async def test_tls(certificate, message):
    """A centre is believed only with a certificate that is; and then everything is as ever."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with Centre(tls=tls) as centre:
        given = settings(centre.port, tls=True)
        tools = Tools(None, lambda: 0)
        doubting = given.as_sender("acme", tools)
        trusting = SmppProvider(
            "acme", given, tools, tls=ssl.create_default_context(cafile=certificate)
        )

        assert silence(Fault.PROVIDER, "tls-error") == await doubting.send(message)
        assert not centre.asked
        assert Accepted("7a2f") == await trusting.send(message)

        await doubting.aclose()
        await trusting.aclose()


async def test_tls_where_there_is_none(gateway, message):
    """What listens there speaks another language, and waits for the end of a line."""
    port = int(gateway.url.split(":")[2].split("/")[0])
    given = settings(port, tls=True, connect_timeout=0.4)
    provider = given.as_sender("acme", Tools(None, lambda: 0))

    assert silence(Fault.PROVIDER, "connect-timeout") == await provider.send(message)

    await provider.aclose()
