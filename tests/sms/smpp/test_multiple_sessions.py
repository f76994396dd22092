"""Each worker has its own session, and an SMSC sends a receipt over any of them."""

import asyncio

import pytest

from otp_service.core.delivery import Accepted, Receipt
from otp_service.sms.smpp.pdu import DELIVER_SM, RESPONSE_BIT, SUBMIT_SM, Pdu
from tests.sms.smpp.samples import DELIVERED_RECEIPT, FakeMessageIdIndex


RECEIVED = "acme", Receipt("delivered", "ref-3f9", "7a2f")


@pytest.fixture
def known():
    """The state that all workers share."""
    return FakeMessageIdIndex()


@pytest.fixture
async def sessions(smsc, create_provider, known, message):
    """Two of them, bound in this order; their first messages are called 1 and 2."""
    providers = [create_provider(submissions=known) for _ in range(2)]
    for number, provider in enumerate(providers, start=1):
        smsc.set_submit_reply(body=b"%d\0" % number)
        await provider.send(message)
    smsc.set_submit_reply()
    return providers


async def test_receipt_over_the_session_of_another_worker(smsc, sessions, message, receipts):
    """Any session finds our reference."""
    first, _ = sessions
    assert Accepted("7a2f") == await first.send(message)

    await smsc.deliver_message(DELIVERED_RECEIPT, connection_index=1)

    assert RECEIVED == await receipts.get()


async def test_receipt_after_a_restart(smsc, create_provider, known, message, receipts):
    """The state of the process that sent the message is lost when it ends."""
    provider = create_provider(submissions=known)
    await provider.send(message)
    await provider.aclose()
    smsc.set_submit_reply(body=b"another\0")
    await create_provider(submissions=known).send(message)

    await smsc.deliver_message(DELIVERED_RECEIPT)

    assert RECEIVED == await receipts.get()


async def test_receipt_over_another_session_before_the_answer(smsc, sessions, message, receipts):
    """It is looked for once more a moment later, after the sending process has shared it."""
    first, _ = sessions
    smsc.ignore_submits()
    sending = asyncio.create_task(first.send(message))
    asked = (await smsc.wait_for_pdus(SUBMIT_SM, 3))[-1]

    await smsc.deliver_message(DELIVERED_RECEIPT, connection_index=1)
    await asyncio.sleep(0.1)  # the receipt is looked for before the answer is there
    await smsc.send_pdu(
        Pdu(SUBMIT_SM | RESPONSE_BIT, asked.sequence, body=b"7a2f\0"), connection_index=0
    )

    assert Accepted("7a2f") == await sending
    assert RECEIVED == await receipts.get()


async def test_receipt_while_redis_is_away(smsc, sessions, message, known, receipts):
    """The SMSC has to repeat it (ESME_RX_T_APPN), and then it is found."""
    first, _ = sessions
    await first.send(message)
    await first._matcher.aclose()  # its records are shared
    known.is_unavailable = True

    await smsc.deliver_message(DELIVERED_RECEIPT, 1, connection_index=1)
    (later,) = await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT)
    known.is_unavailable = False
    await smsc.deliver_message(DELIVERED_RECEIPT, 2, connection_index=1)

    assert 0x64 == later.status
    assert RECEIVED == await receipts.get()


async def test_message_while_redis_is_away(smsc, sessions, message, known, caplog):
    """It has been taken all the same, and its own session knows it; nothing of it is logged."""
    first, _ = sessions
    known.is_unavailable = True

    assert Accepted("7a2f") == await first.send(message)
    await smsc.deliver_message(DELIVERED_RECEIPT, connection_index=0)

    (noted,) = await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT)
    assert 0 == noted.status
    assert "a message id was not shared: StoreUnavailable" in caplog.text
    assert message.to.e164[-4:] not in caplog.text


@pytest.mark.usefixtures("smsc")
async def test_message_ids_are_shared_before_it_is_closed(create_provider, known, message):
    """A worker that is replaced does not lose what it has just sent."""
    provider = create_provider(submissions=known)
    known.released.clear()
    await provider.send(message)

    closing = asyncio.create_task(provider.aclose())
    closed, _ = await asyncio.wait({closing}, timeout=0.2)
    known.released.set()
    await closing

    assert not closed
    assert [("acme", "7a2f")] == [*known.records]
