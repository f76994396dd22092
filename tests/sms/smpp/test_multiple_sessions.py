"""Each worker has a session of its own, and a centre brings a receipt over any of them."""

import asyncio

import pytest

from otp_service.core.delivery import Accepted, Receipt
from otp_service.sms.smpp.pdu import DELIVER_SM, RESPONSE, SUBMIT_SM, Pdu
from tests.sms.smpp.samples import RECEIPT, KnownToAll


RECEIVED = "acme", Receipt("delivered", "ref-3f9", "7a2f")


@pytest.fixture
def known():
    """What all workers know."""
    return KnownToAll()


@pytest.fixture
async def sessions(centre, made, known, message):
    """Two of them, bound in this order; their first messages are called 1 and 2."""
    providers = [made(submissions=known) for _ in range(2)]
    for number, provider in enumerate(providers, start=1):
        centre.answers(body=b"%d\0" % number)
        await provider.send(message)
    centre.answers()
    return providers


async def test_receipt_over_the_session_of_another_worker(centre, sessions, message, news):
    """Whoever it is brought to finds our reference."""
    first, _ = sessions
    assert Accepted("7a2f") == await first.send(message)

    await centre.brings(RECEIPT, over=1)

    assert RECEIVED == await news.get()


async def test_receipt_after_a_restart(centre, made, known, message, news):
    """What the process knew that sent the message is gone with it."""
    provider = made(submissions=known)
    await provider.send(message)
    await provider.aclose()
    centre.answers(body=b"another\0")
    await made(submissions=known).send(message)

    await centre.brings(RECEIPT)

    assert RECEIVED == await news.get()


async def test_receipt_over_another_session_before_the_answer(centre, sessions, message, news):
    """It is looked for once more a moment later, when the one that sent it has told the others."""
    first, _ = sessions
    centre.hangs()
    sending = asyncio.create_task(first.send(message))
    asked = (await centre.hears(SUBMIT_SM, 3))[-1]

    await centre.brings(RECEIPT, over=1)
    await asyncio.sleep(0.1)  # the receipt is looked for before the answer is there
    await centre.sends(Pdu(SUBMIT_SM | RESPONSE, asked.sequence, body=b"7a2f\0"), over=0)

    assert Accepted("7a2f") == await sending
    assert RECEIVED == await news.get()


async def test_receipt_while_redis_is_away(centre, sessions, message, known, news):
    """The centre is to bring it again (ESME_RX_T_APPN), and then it is found."""
    first, _ = sessions
    await first.send(message)
    await first._ids.aclose()  # it has told the others
    known.is_in_doubt = True

    await centre.brings(RECEIPT, 1, over=1)
    (later,) = await centre.hears(DELIVER_SM | RESPONSE)
    known.is_in_doubt = False
    await centre.brings(RECEIPT, 2, over=1)

    assert 0x64 == later.status
    assert RECEIVED == await news.get()


async def test_message_while_redis_is_away(centre, sessions, message, known, caplog):
    """It has been taken all the same, and its own session knows it; nothing of it is logged."""
    first, _ = sessions
    known.is_in_doubt = True

    assert Accepted("7a2f") == await first.send(message)
    await centre.brings(RECEIPT, over=0)

    (noted,) = await centre.hears(DELIVER_SM | RESPONSE)
    assert 0 == noted.status
    assert "a message could not be noted: StoreUnavailable" in caplog.text
    assert message.to.e164[-4:] not in caplog.text


@pytest.mark.usefixtures("centre")
async def test_the_others_are_told_before_it_is_closed(made, known, message):
    """A worker that is replaced does not lose what it has just sent."""
    provider = made(submissions=known)
    known.may_answer.clear()
    await provider.send(message)

    closing = asyncio.create_task(provider.aclose())
    closed, _ = await asyncio.wait({closing}, timeout=0.2)
    known.may_answer.set()
    await closing

    assert not closed
    assert [("acme", "7a2f")] == [*known.kept]
