"""The content of a receipt in its two forms, and its message id in every notation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.delivery import Receipt
from otp_service.sms.provider_callbacks import SkippedEvent
from otp_service.sms.smpp.delivery_receipts import (
    MESSAGE_STATE,
    RECEIPTED_MESSAGE_ID,
    SmppReceipt,
    parse_receipt,
)
from otp_service.sms.smpp.message_ids import ReceiptMatcher
from otp_service.sms.smpp.pdu_bodies import ShortMessage, SmppAddress
from otp_service.sms.smpp.user_data import MESSAGE_PAYLOAD
from tests.sms.smpp.samples import FakeMessageIdIndex


NUMBER = "447400123456"


def receipt(text=b"", esm_class=4, **more):
    """A deliver_sm."""
    source = SmppAddress((1, 1), NUMBER)
    return ShortMessage(source=source, esm_class=esm_class, text=text, **more)


def written(stat="DELIVRD", err="000"):
    """As in appendix B."""
    dates = "submit date:2611241530 done date:2611241531"
    said = f"id:7a2f sub:001 dlvrd:001 {dates} stat:{stat} err:{err} text:864209 is your"
    return said.encode()


@pytest.mark.parametrize(
    ("stat", "state", "status"),
    [
        ("ENROUTE", 1, "pending"),
        ("DELIVRD", 2, "delivered"),
        ("EXPIRED", 3, "temporary-failure"),
        ("DELETED", 4, "technical-failure"),
        ("UNDELIV", 5, "technical-failure"),
        ("ACCEPTD", 6, "pending"),
        ("UNKNOWN", 7, "pending"),
        ("REJECTD", 8, "technical-failure"),
        ("SKIPPED", 9, "technical-failure"),
        ("SCHEDULED", 0, "pending"),
    ],
)
def test_states_mean_the_same_in_both_forms(stat, state, status):
    """5.2.28 and appendix B."""
    tlvs = {RECEIPTED_MESSAGE_ID: b"7a2f\0", MESSAGE_STATE: bytes([state])}
    reason = stat.lower() if status.endswith("failure") else None

    assert SmppReceipt(Receipt(status, "", "7a2f", reason), NUMBER) == parse_receipt(
        receipt(tlvs=tlvs)
    )
    told = parse_receipt(receipt(written(stat, "011")))
    assert (status, "7a2f") == (told.receipt.status, told.receipt.message_id)
    assert (f"{reason}-011" if reason else None) == told.receipt.reason


@pytest.mark.parametrize(
    "brought",
    [
        receipt(tlvs={MESSAGE_PAYLOAD: written()}),
        receipt(b"ID:7a2f STAT:delivrd ERR:0"),
        receipt(b"id: 7a2f stat: DELIVERED"),
        receipt(written("UNDELIV"), tlvs={RECEIPTED_MESSAGE_ID: b"7a2f", MESSAGE_STATE: b"\2"}),
        receipt(esm_class=0, tlvs={RECEIPTED_MESSAGE_ID: b"7a2f", MESSAGE_STATE: b"\2"}),
        receipt(b"id:7a2f;sub:001;dlvrd:001;stat:DELIVRD;err:000;text:864209"),
        receipt(b"id:7a2f,stat:DELIVRD,err:000"),
        receipt(written() + b"\0"),
        receipt(b"id:7a2f stat:DELIVRD\0"),
        receipt(b"id:7a2f\0 stat:DELIVRD"),
        receipt(written().decode().encode("utf-16-be"), data_coding=8),
        receipt(written().decode().encode("utf-16-be") + b"\0", data_coding=0),
        receipt(written().decode().encode("utf-16"), data_coding=8),
        receipt(written().decode().encode("utf-16-le")),
        receipt("ID:7a2f STAT:delivrd".encode("utf-16-be")),
        receipt(b"\x05\0\3\1\1\1" + written(), esm_class=0x44),
        receipt(written(), tlvs={RECEIPTED_MESSAGE_ID: b"7a2f\0", MESSAGE_STATE: b"\x7f"}),
        receipt(written(), esm_class=0),
        receipt(tlvs={MESSAGE_PAYLOAD: written()}, esm_class=0),
        receipt(written().decode().encode("utf-16-be"), esm_class=0),
    ],
)
def test_centres_have_their_ways(brought):
    """The optional parameters come first; a payload is a text; some shout, some write UTF-16."""
    assert Receipt("delivered", message_id="7a2f") == parse_receipt(brought).receipt


@pytest.mark.parametrize(
    ("stat", "status", "reason"),
    [
        ("FAILED", "technical-failure", "failed-000"),
        ("UNDELIVERABLE", "technical-failure", "undeliv-000"),
        ("UNDELIVERED", "technical-failure", "undeliv-000"),
        ("REJECTED", "technical-failure", "rejectd-000"),
        ("ACCEPTED", "pending", None),
    ],
)
def test_states_have_other_words_too(stat, status, reason):
    """A message that failed is not pending for ever."""
    assert Receipt(status, "", "7a2f", reason) == parse_receipt(receipt(written(stat))).receipt


def test_an_intermediate_notification_needs_no_state():
    """It says that the message is still on its way."""
    told = parse_receipt(receipt(b"id:7a2f", esm_class=0x20))

    assert Receipt("pending", message_id="7a2f") == told.receipt


@pytest.mark.parametrize(
    "brought",
    [
        receipt(b"STOP", esm_class=0),
        receipt(b"my id: 7 stat: DELIVRD", esm_class=0),
        receipt(b"id:7a2f", esm_class=0),
        receipt(b"id:7a2f text:stat:DELIVRD", esm_class=0),
        receipt(written(), esm_class=0x08),
        receipt(written(), esm_class=0x18),
        receipt(b"", esm_class=0),
    ],
)
def test_what_people_send_us_is_no_receipt(brought):
    """5.2.12 decides, and for its default a text that begins as a receipt and has a state."""
    assert SkippedEvent.OTHER is parse_receipt(brought)


@pytest.mark.parametrize(
    "brought",
    [
        receipt(b""),
        receipt(b"stat:DELIVRD"),
        receipt(b"id: stat:DELIVRD"),
        receipt(b"id:7a2f"),
        receipt(written("OFNEXTYEAR")),
        receipt(written("DELIVERY_FAILED")),
        receipt(written("DELIVERYERROR")),
        receipt("код id:".encode("utf-16-be")),
        receipt(tlvs={RECEIPTED_MESSAGE_ID: b"7a2f", MESSAGE_STATE: b"\x7f"}),
        receipt(written("OFNEXTYEAR"), esm_class=0),
    ],
)
def test_a_receipt_without_an_id_or_a_state_cannot_be_read(brought):
    """It is counted: an operator sees that receipts are lost."""
    assert SkippedEvent.UNREADABLE is parse_receipt(brought)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"id:7a2f stat:UNDELIV err:1 text:id:864209 stat:DELIVRD err:2", "undeliv-1"),
        (b"id:7a2f stat:UNDELIV text:err:8642", "undeliv"),
        (b"id:7a2f stat:UNDELIV Text:err:8642", "undeliv"),
        (b"id:7a2f stat:UNDELIV err:864209", "undeliv"),
    ],
)
def test_nothing_of_the_text_is_kept(said, reason):
    """The repeated beginning of our text may contain the code, and look like a field."""
    told = parse_receipt(receipt(said)).receipt

    assert Receipt("technical-failure", "", "7a2f", reason) == told


def test_an_id_in_our_text_is_none():
    """The same."""
    told = parse_receipt(receipt(b"stat:DELIVRD text:id:864209"))

    assert SkippedEvent.UNREADABLE is told


@given(st.binary(max_size=100), st.integers(0, 255), st.binary(max_size=100))
def test_any_text_can_be_read(before, esm_class, after):
    """Input from outside may be anything; a reason never contains six characters of it."""
    told = parse_receipt(receipt(before + b" id:7a2f stat:UNDELIV err:" + after, esm_class))

    if isinstance(told, SmppReceipt) and told.receipt.reason:
        assert len(told.receipt.reason.partition("-")[2]) < 5


def told(name, number=NUMBER):
    """A receipt for the message of this name."""
    return SmppReceipt(Receipt("delivered", message_id=name), number)


@pytest.mark.parametrize(
    ("given_id", "name"),
    [
        ("7a2f", "7a2f"),
        ("7A2F", "7a2f"),
        ("007a2f", "7A2F"),
        ("7a2f", "31279"),
        ("31279", "7a2f"),
        ("31279", "0x7A2F"),
        ("00007A2F", "0000031279"),
        ("b1-9c", "b1-9c"),
    ],
)
@pytest.mark.parametrize("is_shared", [False, True], ids=["its own", "another's"])
async def test_ids_are_found_in_both_forms(given_id, name, is_shared):
    """One in the response, another in the receipt; from any process."""
    mine, other = processes()
    mine.record_message(given_id, "ref-3f9", f"+{NUMBER}")
    await mine.aclose()

    asked = other if is_shared else mine

    assert "ref-3f9" == (await asked.match_receipt(told(name))).reference


async def test_another_form_counts_only_with_the_right_number():
    """The decimal 16 is another message's hexadecimal 10."""
    mine, other = processes()
    mine.record_message("16", "ref-3f9", f"+{NUMBER}")
    await mine.aclose()

    for ids in (mine, other):
        assert not (await ids.match_receipt(told("10", "447400999999"))).reference
        assert not (await ids.match_receipt(told("10", ""))).reference
        assert "ref-3f9" == (await ids.match_receipt(told("16", "447400999999"))).reference


@pytest.mark.parametrize("is_shared", [False, True], ids=["its own", "another's"])
async def test_a_text_that_a_person_could_write_counts_for_that_number_only(is_shared):
    """An SMSC that gives no type is believed; a person cannot report on another one's message."""
    mine, other = processes()
    mine.record_message("77", "ref-3f9", f"+{NUMBER}")
    await mine.aclose()
    asked = other if is_shared else mine
    forged = SmppReceipt(Receipt("delivered", message_id="77"), "447400999999", is_typed=False)
    honest = SmppReceipt(Receipt("delivered", message_id="77"), NUMBER, is_typed=False)

    assert not (await asked.match_receipt(forged)).reference
    assert not (await asked.match_receipt(forged._replace(number=""))).reference
    assert "ref-3f9" == (await asked.match_receipt(honest)).reference


async def test_an_exact_id_comes_first():
    """Both are known, also where this process has sent only the other one."""
    mine, other = processes()
    mine.record_message("16", "ref-16", NUMBER)
    other.record_message("10", "ref-10", NUMBER)
    await mine.aclose()
    await other.aclose()

    for ids in (mine, other):
        assert "ref-10" == (await ids.match_receipt(told("10"))).reference


async def test_the_oldest_are_forgotten():
    """Memory is bounded."""
    ids = ReceiptMatcher("acme", max_messages=2)
    for place in (1, 2, 3):
        ids.record_message(f"id-{place}", f"ref-{place}", NUMBER)

    found = [(await ids.match_receipt(told(f"id-{n}"))).reference for n in (1, 2, 3)]

    assert ["", "ref-2", "ref-3"] == found


async def test_a_match_that_fails_has_a_reason():
    """An operator sees whether another system's receipts come, or forged ones."""
    ids = ReceiptMatcher("acme")
    ids.record_message("77", "ref-3f9", f"+{NUMBER}")
    forged = told("77", "447400999999")._replace(is_typed=False)

    assert ("ref-3f9", "") == await ids.match_receipt(told("77"))
    assert ("", "unknown id") == await ids.match_receipt(told("78"))
    assert ("", "another number") == await ids.match_receipt(forged)


def processes():
    """The ids that two processes share."""
    shared = FakeMessageIdIndex()
    return ReceiptMatcher("acme", shared), ReceiptMatcher("acme", shared)
