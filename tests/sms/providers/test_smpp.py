"""SMPP: the cases of the contract against a centre of our own, and what a session has besides."""

import asyncio
import logging
import ssl
from contextlib import suppress

import msgspec
import pytest

from otp_service.core.delivery import About, Accepted, Fault, Receipt, Refused
from otp_service.core.phone import PhoneNumber
from otp_service.core.secret import Secret
from otp_service.sms.providers import Provider
from otp_service.sms.providers.smpp import Smpp, SmppProvider
from otp_service.sms.router import Tools
from otp_service.sms.smpp import session
from otp_service.sms.smpp.bodies import Address, Bind, ShortMessage
from otp_service.sms.smpp.pdu import (
    BIND_TRANSCEIVER,
    DELIVER_SM,
    ENQUIRE_LINK,
    GENERIC_NACK,
    RESPONSE,
    SUBMIT_SM,
    UNBIND,
    Pdu,
)
from tests.sms.smpp.centre import Centre


RECEIPT = ShortMessage(
    source=Address((1, 1), "447400123456"), esm_class=4, text=b"id:7a2f stat:DELIVRD err:000"
)


@pytest.fixture
async def centre():
    """A centre that takes everything."""
    async with Centre() as centre:
        yield centre


@pytest.fixture
def news():
    """What was received, with the provider's name."""
    return asyncio.Queue()


@pytest.fixture
async def made(centre, news):
    """Makes providers that speak to the centre, and takes leave of it."""
    providers = []

    async def received(name, receipt):
        await news.put((name, receipt))

    def make(received=received, **more):
        given = settings(centre.port, **more)
        provider = given.as_sender("acme", Tools(None, lambda: 0, received))
        providers.append(provider)
        return provider

    yield make
    for provider in providers:
        await provider.aclose()


@pytest.fixture
def quick(monkeypatch):
    """A lost link is made again soon."""
    monkeypatch.setattr(session, "FIRST_REST", 0.05)


@pytest.fixture
def provider(made):
    """One that is patient."""
    return made()


def settings(port, **more):
    """Its settings; a test that waits for a timeout says for which."""
    given = {
        "host": "127.0.0.1",
        "port": port,
        "system_id": "tester",
        "password": Secret("s3cret"),
        "sender": "Example",
        "connect_timeout": 10.0,
        "reply_timeout": 10.0,
    }
    return Smpp(**(given | more))


def silence(fault, reason):
    """A refusal that nobody has spoken."""
    return Refused(fault, reason, None, About.SILENCE)


async def until(provider, message, reason):
    """Send again and again until this is the reason, or None for acceptance."""
    for _ in range(500):
        reply = await provider.send(message)
        if reason == getattr(reply, "reason", None):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(reply)


# The contract (test_contract.py), as far as there is HTTP in no case of it.


def test_settings_of_the_contract_are_safe():
    """What is tested here would pass `check`."""
    assert [] == settings(2775).faults()


async def test_accepted(centre, provider, message):
    """A message that was taken comes back with the centre's own name for it."""
    reply = await provider.send(message)

    assert Accepted("7a2f") == reply
    (sent,) = centre.messages
    assert message.text.encode() == sent.text
    assert ((5, 0), "Example") == (sent.source.kind, sent.source.text)
    assert ((1, 1), "447400123456") == (sent.destination.kind, sent.destination.text)
    assert ("000000000450000R", 1, 0) == (sent.validity, sent.registered_delivery, sent.data_coding)


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (0x0B, Refused(Fault.RECIPIENT, "smpp-0b")),
        (0x65, Refused(Fault.RECIPIENT, "smpp-65")),
        (0x0A, Refused(Fault.PROVIDER, "smpp-0a", None, About.ACCOUNT)),
        (0x0D, Refused(Fault.PROVIDER, "smpp-0d", None, About.ACCOUNT)),
        (0x0E, Refused(Fault.PROVIDER, "smpp-0e", None, About.ACCOUNT)),
        (0x0F, Refused(Fault.PROVIDER, "smpp-0f", None, About.ACCOUNT)),
        (0x14, Refused(Fault.PROVIDER, "smpp-14", None, About.THROTTLED)),
        (0x58, Refused(Fault.PROVIDER, "smpp-58", None, About.THROTTLED)),
        (0x08, Refused(Fault.PROVIDER, "smpp-08")),
        (0x45, Refused(Fault.PROVIDER, "smpp-45")),
        (0x0400, Refused(Fault.PROVIDER, "smpp-400")),
        (0x864209, Refused(Fault.PROVIDER, "smpp-other")),
    ],
)
async def test_refusals(centre, provider, message, status, refused):
    """Every code of the table, and those that are in none: the provider's, never the number's."""
    centre.answers(status)

    assert refused == await provider.send(message)


@pytest.mark.parametrize(
    ("body", "reason"), [(b"", "no-message-id"), (b"\0", "no-message-id"), (b"7a", "no-message-id")]
)
async def test_accepted_without_the_message_id(centre, provider, message, body, reason):
    """Accepted, as it seems, but without the proof: it may have been sent."""
    centre.answers(body=body)

    assert Refused(Fault.UNKNOWN, reason) == await provider.send(message)


async def test_an_answer_to_something_else(centre, provider, message):
    """It may mean anything."""
    centre.answers(command=ENQUIRE_LINK | RESPONSE)

    assert Refused(Fault.UNKNOWN, "bad-reply") == await provider.send(message)


async def test_not_understood(centre, provider, message):
    """A generic_nack (4.3) is a refusal too."""
    centre.answers(0x03, command=GENERIC_NACK)

    assert Refused(Fault.PROVIDER, "smpp-03") == await provider.send(message)


@pytest.mark.parametrize("octets", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(16), b"\xff" * 64])
async def test_not_what_it_should_be(centre, provider, message, octets):
    """What is no PDU ends the link; the message may have been sent (R88)."""
    centre.hangs()
    sending = asyncio.create_task(provider.send(message))
    await centre.hears(SUBMIT_SM)

    for writer in centre._writers.values():
        writer.write(octets)

    assert silence(Fault.UNKNOWN, "disconnected") == await sending


async def test_connect_timeout(deaf_url, message):
    """Nothing was sent, so it is the provider's fault (waits for the timeout itself)."""
    port = int(deaf_url.rstrip("/").rpartition(":")[2])
    provider = SmppProvider("acme", settings(port, connect_timeout=0.4), Tools(None, lambda: 0))

    assert silence(Fault.PROVIDER, "connect-timeout") == await provider.send(message)

    await provider.aclose()


async def test_nobody_listens(centre, provider, message):
    """The same, at once."""
    await centre.leave()

    assert silence(Fault.PROVIDER, "connect-error") == await provider.send(message)


async def test_no_such_name(made, message):
    """The same. (.invalid resolves nowhere, RFC 6761.)"""
    provider = made(host="smsc.invalid")

    assert silence(Fault.PROVIDER, "dns-error") == await provider.send(message)


async def test_read_timeout(centre, made, message):
    """The message was written, so it may have been sent (waits for the timeout itself)."""
    provider = made(reply_timeout=0.4)
    centre.hangs()

    assert silence(Fault.UNKNOWN, "read-timeout") == await provider.send(message)
    assert 1 == len(centre.messages)


async def test_lost_while_waiting(centre, provider, message):
    """It may have been sent: the connection says nothing of it."""
    centre.hangs()
    sending = asyncio.create_task(provider.send(message))
    await centre.hears(SUBMIT_SM)

    centre.drops()

    assert silence(Fault.UNKNOWN, "disconnected") == await sending


# What a session has besides.


async def test_binds_once_as_transceiver(centre, made, message):
    """With all that says who we are (4.1.5), and for any number of messages."""
    provider = made(system_type="OTP")

    await asyncio.gather(*(provider.send(message) for _ in range(5)))

    (bind,) = centre.of(BIND_TRANSCEIVER)
    assert Bind(system_id="tester", password="s3cret", system_type="OTP") == Bind.decode(bind.body)
    assert 5 == len(centre.messages)


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


async def test_receipt_has_our_reference(centre, provider, message, news):
    """The centre knows only its own id, and is answered once the receipt is noted."""
    await provider.send(message)

    await centre.brings(RECEIPT, 9)

    assert ("acme", Receipt("delivered", "ref-3f9", "7a2f")) == await news.get()
    (answer,) = await centre.hears(DELIVER_SM | RESPONSE)
    assert (9, 0, b"\0") == (answer.sequence, answer.status, answer.body)


async def test_receipt_of_a_message_that_nobody_waits_for(centre, made, message, news):
    """The answer came too late for the sender, and tells the id all the same."""
    provider = made(reply_timeout=0.4)
    centre.hangs()
    await provider.send(message)
    (asked,) = centre.of(SUBMIT_SM)

    await centre.sends(Pdu(SUBMIT_SM | RESPONSE, asked.sequence, body=b"7a2f\0"))
    await centre.brings(RECEIPT)

    assert "ref-3f9" == (await news.get())[1].reference


async def test_receipt_that_comes_before_the_answer(centre, made, message, news):
    """Some centres are that fast."""
    provider = made()
    centre.hangs()
    sending = asyncio.create_task(provider.send(message))
    (asked,) = await centre.hears(SUBMIT_SM)

    await centre.brings(RECEIPT)
    await centre.sends(Pdu(SUBMIT_SM | RESPONSE, asked.sequence, body=b"7a2f\0"))

    assert Accepted("7a2f") == await sending
    assert "ref-3f9" == (await news.get())[1].reference


async def test_receipt_of_a_message_that_is_not_ours(centre, provider, message, news):
    """It has no reference, and is counted by who gets it."""
    await provider.send(message)

    await centre.brings(msgspec.structs.replace(RECEIPT, text=b"id:other stat:DELIVRD"))

    assert ("acme", Receipt("delivered", "", "other")) == await news.get()


async def test_receipt_that_cannot_be_noted(centre, made, message, caplog):
    """Redis is away: the centre is to bring it again (ESME_RX_T_APPN), and the link goes on."""

    async def fails(*_):
        raise ValueError("864209 to +447400123456")

    provider = made(received=fails)
    await provider.send(message)

    await centre.brings(RECEIPT)

    (answer,) = await centre.hears(DELIVER_SM | RESPONSE)
    assert 0x64 == answer.status
    assert Accepted("7a2f") == await provider.send(message)
    assert "864209" not in caplog.text


async def test_receipt_that_cannot_be_read(centre, provider, message, news):
    """Brought again it would be no better (ESME_RX_P_APPN); the link goes on."""
    await provider.send(message)

    await centre.sends(Pdu(DELIVER_SM, 3, body=b"7a2f"))

    (answer,) = await centre.hears(DELIVER_SM | RESPONSE)
    assert (3, 0x65) == (answer.sequence, answer.status)
    assert Accepted("7a2f") == await provider.send(message)
    assert 1 == len(centre.of(BIND_TRANSCEIVER))
    assert news.empty()


async def test_more_receipts_than_can_be_noted(centre, made, message):
    """The link is not held up by them, and they are to be brought again (ESME_RMSGQFUL)."""
    noted = asyncio.Event()

    async def waits(*_):
        await noted.wait()

    provider = made(received=waits)
    await provider.send(message)

    for sequence in range(1, 102):
        await centre.brings(RECEIPT, sequence)

    (answer,) = await centre.hears(DELIVER_SM | RESPONSE)
    assert (101, 0x14) == (answer.sequence, answer.status)
    assert Accepted("7a2f") == await provider.send(message)
    noted.set()
    await centre.hears(DELIVER_SM | RESPONSE, 101)


async def test_what_people_send_us_is_answered_and_dropped(centre, provider, message, news):
    """Or the centre would bring it for ever."""
    await provider.send(message)

    await centre.brings(ShortMessage(source=Address((1, 1), "447400123456"), text=b"STOP"))

    await centre.hears(DELIVER_SM | RESPONSE)
    assert news.empty()


async def test_what_cannot_be_shown_is_not(centre, provider, message):
    """R68: an id of a message is kept and logged."""
    centre.answers(body=b"id of 447400123456\0")

    assert Accepted() == await provider.send(message)


async def test_nothing_is_logged(centre, made, message, caplog):
    """R68: number, code and password stay where they are, also when it goes wrong."""
    caplog.set_level(logging.DEBUG)
    provider = made(reply_timeout=0.4)
    shown = repr(settings(centre.port)) + repr(settings(centre.port).bind) + repr(message)
    await provider.send(message)
    await centre.brings(RECEIPT)
    centre.hangs()
    sending = asyncio.create_task(provider.send(message))
    await centre.hears(SUBMIT_SM, 2)
    await centre.sends(Pdu(DELIVER_SM, 3, body=b"864209"))
    await sending
    await provider.aclose()

    for hidden in ("447400123456", "864209", "s3cret"):
        assert hidden not in caplog.text + shown
    assert "provider acme: bound" in caplog.text


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


# Settings.


def test_settings_are_read_by_their_type():
    """The tag is all that there is of a registration."""
    given = {"type": "smpp", "host": "smsc.example", "tls": True, "system_id": "a", "password": "b"}

    read = msgspec.convert(given, Provider, dec_hook=lambda _, value: Secret(value))

    assert Smpp(host="smsc.example", tls=True, system_id="a", password=Secret("b")) == read
    assert [] == read.faults()


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
    """What is unsafe, or could not be sent, is told before anything is sent."""
    faults = settings(2775, **more).faults()

    assert field in [name for name, _ in faults]
    assert "a\0b" not in str(faults)


def test_a_number_is_the_sender_where_a_name_will_not_do(message):
    """In the US and Canada (R44)."""
    american = msgspec.structs.replace(message, to=PhoneNumber("+12125550123", "US", 1))
    both = settings(2775, senders={"US": "+12125550199"})

    assert "12125550199" == both.submit(american).source.text
    assert Address() == settings(2775).submit(american).source
    assert (True, False) == (both.serves("US"), settings(2775).serves("US"))
    assert settings(2775).serves("GB")


def test_ucs2(message):
    """5.2.19: what is not in the default alphabet."""
    sent = settings(2775).submit(msgspec.structs.replace(message, text="864209 код"))

    assert (8, "864209 код") == (sent.data_coding, sent.text.decode("utf-16-be"))
