"""What a centre brings: receipts, and what people send us."""

import asyncio
import logging

import msgspec

from otp_service.core.delivery import Accepted, Receipt
from otp_service.sms.smpp.pdu import (
    BIND_TRANSCEIVER,
    DELIVER_SM,
    RESPONSE,
    SUBMIT_SM,
    Pdu,
)
from otp_service.sms.smpp.pdu_bodies import Address, ShortMessage
from tests.sms.smpp.samples import RECEIPT, settings


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
    await asyncio.sleep(0.1)
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

    (answer,) = await centre.hears(DELIVER_SM | RESPONSE)
    assert 0 == answer.status
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
