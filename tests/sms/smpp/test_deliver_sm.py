"""deliver_sm: receipts. Messages from phones: test_inbound_messages.py."""

import asyncio
import logging

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Receipt
from otp_service.sms.smpp.pdu import (
    BIND_TRANSCEIVER,
    DATA_SM,
    DELIVER_SM,
    RESPONSE_BIT,
    SUBMIT_SM,
    Pdu,
    encode_tlvs,
)
from otp_service.sms.smpp.pdu_bodies import SmppAddress
from tests.sms.smpp.samples import DELIVERED_RECEIPT, build_settings, encode_data_sm


async def test_receipt_has_our_reference(smsc, provider, message, receipts):
    """The SMSC knows only its own id, and gets its response after the receipt is handled."""
    await provider.send(message)

    await smsc.deliver_message(DELIVERED_RECEIPT, 9)

    assert ("acme", Receipt("delivered", "ref-3f9", "7a2f")) == await receipts.get()
    (answer,) = await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT)
    assert (9, 0, b"\0") == (answer.sequence, answer.status, answer.body)


async def test_receipt_of_a_message_whose_response_was_late(
    smsc, create_provider, message, receipts
):
    """The response was too late for the caller, but its id is recorded."""
    provider = create_provider(reply_timeout=0.4)
    smsc.ignore_submits()
    await provider.send(message)
    (asked,) = smsc.list_pdus(SUBMIT_SM)

    await smsc.send_pdu(Pdu(SUBMIT_SM | RESPONSE_BIT, asked.sequence, body=b"7a2f\0"))
    await smsc.deliver_message(DELIVERED_RECEIPT)

    assert "ref-3f9" == (await receipts.get())[1].reference


async def test_receipt_that_comes_before_the_answer(smsc, create_provider, message, receipts):
    """Some centres are that fast."""
    provider = create_provider()
    smsc.ignore_submits()
    sending = asyncio.create_task(provider.send(message))
    (asked,) = await smsc.wait_for_pdus(SUBMIT_SM)

    await smsc.deliver_message(DELIVERED_RECEIPT)
    await asyncio.sleep(0.1)
    await smsc.send_pdu(Pdu(SUBMIT_SM | RESPONSE_BIT, asked.sequence, body=b"7a2f\0"))

    assert Accepted("7a2f") == await sending
    assert "ref-3f9" == (await receipts.get())[1].reference


async def test_receipt_of_a_message_that_is_not_ours(smsc, provider, message, receipts, caplog):
    """It has no reference, is counted as `unknown` by the service, and logged with the reason."""
    await provider.send(message)

    await smsc.deliver_message(
        msgspec.structs.replace(DELIVERED_RECEIPT, text=b"id:864209 stat:DELIVRD")
    )

    assert ("acme", Receipt("delivered", "", "864209")) == await receipts.get()
    text = "provider acme: a receipt of an unknown message: unknown id, status delivered"
    assert text in caplog.text
    assert "864209" not in caplog.text  # an id that is not ours could be anything


async def test_receipt_that_a_person_could_have_written(smsc, provider, message, receipts, caplog):
    """Without a type its text counts for the number alone that it came from."""
    await provider.send(message)

    await smsc.deliver_message(
        msgspec.structs.replace(
            DELIVERED_RECEIPT, esm_class=0, source=SmppAddress((1, 1), "447400999999")
        )
    )

    assert ("acme", Receipt("delivered", "", "7a2f")) == await receipts.get()
    assert "a receipt of an unknown message: another number, status delivered" in caplog.text
    assert "447400" not in caplog.text


async def test_receipt_of_our_message_is_not_logged(smsc, provider, message, receipts, caplog):
    """The neighbour of both: nothing is wrong with it."""
    await provider.send(message)

    await smsc.deliver_message(DELIVERED_RECEIPT)
    await receipts.get()

    assert "receipt" not in caplog.text


async def test_receipt_that_cannot_be_noted(smsc, create_provider, message, caplog):
    """Redis is away: the SMSC has to repeat it (ESME_RX_T_APPN), and the connection continues."""

    async def fails(*_):
        raise ValueError("864209 to +447400123456")

    provider = create_provider(received=fails)
    await provider.send(message)

    await smsc.deliver_message(DELIVERED_RECEIPT)

    (answer,) = await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT)
    assert 0x64 == answer.status
    assert Accepted("7a2f") == await provider.send(message)
    assert "864209" not in caplog.text


async def test_receipt_that_cannot_be_read(smsc, provider, message, skipped_events, caplog):
    """Brought again it would be no better (ESME_RX_P_APPN); the link goes on."""
    await provider.send(message)

    await smsc.send_pdu(Pdu(DELIVER_SM, 3, body=b"7a2f"))

    (answer,) = await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT)
    assert (3, 0x65) == (answer.sequence, answer.status)
    assert Accepted("7a2f") == await provider.send(message)
    assert 1 == len(smsc.list_pdus(BIND_TRANSCEIVER))
    assert [("acme", "unreadable")] == skipped_events
    assert "provider acme: a deliver_sm or data_sm has an invalid body" in caplog.text


FIELDS = DELIVERED_RECEIPT.text
WAYS = {
    "a NUL at the end": (DELIVER_SM, DELIVERED_RECEIPT.encode() + b"\0"),
    "NULs at the end": (DELIVER_SM, DELIVERED_RECEIPT.encode() + b"\0" * 9),
    "a NUL before the parameters": (
        DELIVER_SM,
        DELIVERED_RECEIPT.encode() + b"\0" + encode_tlvs({0x001E: b"7a2f\0", 0x0427: b"\2"}),
    ),
    "a NUL after the parameters": (
        DELIVER_SM,
        DELIVERED_RECEIPT.encode() + encode_tlvs({0x001E: b"7a2f\0", 0x0427: b"\2"}) + b"\0",
    ),
    "no type": (DELIVER_SM, msgspec.structs.replace(DELIVERED_RECEIPT, esm_class=0).encode()),
    "UTF-16": (
        DELIVER_SM,
        msgspec.structs.replace(
            DELIVERED_RECEIPT, text=FIELDS.decode().encode("utf-16-be"), data_coding=8
        ).encode(),
    ),
    "semicolons": (
        DELIVER_SM,
        msgspec.structs.replace(DELIVERED_RECEIPT, text=FIELDS.replace(b" ", b";")).encode(),
    ),
    "data_sm": (DATA_SM, encode_data_sm(DELIVERED_RECEIPT)),
}


@pytest.mark.parametrize("way", WAYS)
async def test_no_form_of_a_receipt_is_lost(way, smsc, provider, message, receipts):
    """Each was seen at an SMSC, and vanished without a log line or a metric."""
    command, body = WAYS[way]
    await provider.send(message)

    await smsc.send_pdu(Pdu(command, 9, body=body))

    (answer,) = await smsc.wait_for_pdus(command | RESPONSE_BIT)
    assert (9, 0, b"\0") == (answer.sequence, answer.status, answer.body)
    async with asyncio.timeout(5):
        assert ("acme", Receipt("delivered", "ref-3f9", "7a2f")) == await receipts.get()


async def test_a_data_sm_that_cannot_be_read(smsc, provider, message, receipts, skipped_events):
    """It is answered and counted as a deliver_sm is."""
    await provider.send(message)

    await smsc.send_pdu(Pdu(DATA_SM, 3, body=b"7a2f"))

    (answer,) = await smsc.wait_for_pdus(DATA_SM | RESPONSE_BIT)
    assert (3, 0x65) == (answer.sequence, answer.status)
    assert (True, [("acme", "unreadable")]) == (receipts.empty(), skipped_events)


async def test_an_unreadable_receipt_is_logged_without_its_text(
    smsc, provider, message, skipped_events, caplog
):
    """R68: the form says what the SMSC does; the text may hold the code."""
    await provider.send(message)
    strange = msgspec.structs.replace(DELIVERED_RECEIPT, text=b"864209 is your 447400123456")

    await smsc.deliver_message(strange)

    (answer,) = await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT)
    assert (0, [("acme", "unreadable")]) == (answer.status, skipped_events)
    form = "skipped as unreadable: esm_class 0x04, data_coding 0x00, optional parameters []"
    assert f"provider acme: {form}" in caplog.text
    assert "864209" not in caplog.text
    assert "447400123456" not in caplog.text


async def test_more_receipts_than_can_be_noted(smsc, create_provider, message):
    """The link is not held up by them, and they are to be brought again (ESME_RMSGQFUL)."""
    noted = asyncio.Event()

    async def waits(*_):
        await noted.wait()

    provider = create_provider(received=waits)
    await provider.send(message)

    for sequence in range(1, 102):
        await smsc.deliver_message(DELIVERED_RECEIPT, sequence)

    (answer,) = await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT)
    assert (101, 0x14) == (answer.sequence, answer.status)
    assert Accepted("7a2f") == await provider.send(message)
    noted.set()
    await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT, 101)


async def test_what_cannot_be_shown_is_not(smsc, provider, message):
    """R68: an id of a message is kept and logged."""
    smsc.set_submit_reply(body=b"id of 447400123456\0")

    assert Accepted() == await provider.send(message)


async def test_nothing_is_logged(smsc, create_provider, message, caplog):
    """R68: number, code and password stay where they are, also when it goes wrong."""
    caplog.set_level(logging.DEBUG)
    provider = create_provider(reply_timeout=0.4)
    shown = (
        repr(build_settings(smsc.port))
        + repr(build_settings(smsc.port).bind_request)
        + repr(message)
    )
    await provider.send(message)
    await smsc.deliver_message(DELIVERED_RECEIPT)
    smsc.ignore_submits()
    sending = asyncio.create_task(provider.send(message))
    await smsc.wait_for_pdus(SUBMIT_SM, 2)
    await smsc.send_pdu(Pdu(DELIVER_SM, 3, body=b"864209"))
    await sending
    await provider.aclose()

    for hidden in ("447400123456", "864209", "s3cret"):
        assert hidden not in caplog.text + shown
    assert "provider acme: bound" in caplog.text
