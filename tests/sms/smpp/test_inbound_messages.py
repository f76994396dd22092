"""Messages from phones over the session: from the octets of the SMSC to what the service gets."""

import asyncio
import logging
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core.delivery import Accepted, Message
from otp_service.core.errors import StoreUnavailable
from otp_service.core.inbound import InboundMessage
from otp_service.core.phone_number import PhoneNumber
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.smpp import delivery_handler, message_parts
from otp_service.sms.smpp.inbound_messages import parse_message_part
from otp_service.sms.smpp.pdu import (
    BIND_TRANSCEIVER,
    DATA_SM,
    DELIVER_SM,
    ENQUIRE_LINK,
    RESPONSE_BIT,
    Pdu,
)
from otp_service.sms.smpp.pdu_bodies import ShortMessage, SmppAddress
from otp_service.sms.smpp.user_data import MESSAGE_PAYLOAD
from tests.sms.smpp.fake_smsc import FakeSmsc
from tests.sms.smpp.samples import build_settings, encode_data_sm


PHONE = SmppAddress((1, 1), "447400123456")
OURS = SmppAddress((1, 1), "12025550123")
CANARY = "864209"
MESSAGE = Message(PhoneNumber("+447400123456", "GB", 44), "code", "ref", validity_seconds=290)


def inbound(text, sender="447400123456"):
    """What the service gets."""
    return "acme", InboundMessage(sender, text, "12025550123", is_signed=True)


class Phone(NamedTuple):
    """A phone that answers our messages, and what becomes of that."""

    smsc: FakeSmsc
    received: asyncio.Queue
    skipped_events: list

    async def write(self, text, *, source=PHONE, command=DELIVER_SM, **more):
        """Send this over the SMSC, and return the status of the response."""
        short_message = ShortMessage(source=source, destination=OURS, text=text, **more)
        encode = encode_data_sm if command == DATA_SM else ShortMessage.encode
        count = len(self.smsc.list_pdus(command | RESPONSE_BIT))
        await self.smsc.send_pdu(Pdu(command, count + 1, body=encode(short_message)))
        responses = await self.smsc.wait_for_pdus(command | RESPONSE_BIT, count + 1)
        return responses[-1].status

    @property
    def messages(self):
        """What the service got since the last time."""
        return [self.received.get_nowait() for _ in range(self.received.qsize())]


@pytest.fixture
async def phone(smsc, provider, message, inbound_messages, skipped_events):
    """One to which a message was sent."""
    await provider.send(message)
    return Phone(smsc, inbound_messages, skipped_events)


FORMS = {
    "GSM 03.38": {"text": b"STOP"},
    "ASCII": {"text": b"STOP", "data_coding": 1},
    "ISO 8859-1": {"text": b"STOP", "data_coding": 3},
    "UCS-2": {"text": b"\0S\0T\0O\0P", "data_coding": 8},
    "by class": {"text": b"STOP", "data_coding": 0xF1},
    "a payload": {"text": b"", "tlvs": {MESSAGE_PAYLOAD: b"STOP"}},
    "a payload in UCS-2": {
        "text": b"",
        "tlvs": {MESSAGE_PAYLOAD: b"\0S\0T\0O\0P"},
        "data_coding": 8,
    },
    "data_sm": {"text": b"STOP", "command": DATA_SM},
    "data_sm in UCS-2": {"text": b"\0S\0T\0O\0P", "data_coding": 8, "command": DATA_SM},
    "a header of another kind": {"text": b"\x03\x24\x01\x01STOP", "esm_class": 0x40},
    "a reply path": {"text": b"STOP", "esm_class": 0x80},
    "a mode of the SMSC": {"text": b"STOP", "esm_class": 0x03},
    "part 0 of 0": {"text": b"\x05\x00\x03\xcc\x00\x00STOP", "esm_class": 0x40},
    "part 7 of 3": {"text": b"\x05\x00\x03\xcc\x03\x07STOP", "esm_class": 0x40},
    "part 1 of 1": {"text": b"\x05\x00\x03\xcc\x01\x01STOP", "esm_class": 0x40},
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_stop_arrives_in_every_form(form, phone):
    """The session is authenticated, so the message counts as signed."""
    assert 0 == await phone.write(**FORMS[form])

    assert [inbound("STOP")] == phone.messages
    assert [] == phone.skipped_events


@pytest.mark.parametrize(("alphabet", "first"), [(b"\1", "İ"), (b"\2", "¡"), (b"", "¡")])
async def test_the_header_selects_the_turkish_alphabet(alphabet, first, phone):
    """İPTAL from a phone in Turkey; another alphabet has the same letters without accents."""
    element = bytes([0x25, len(alphabet)]) + alphabet
    await phone.write(bytes([len(element)]) + element + b"\x40PTAL", esm_class=0x40)

    assert [inbound(f"{first}PTAL")] == phone.messages


PART_FORMS = {
    "8-bit references": (
        {"text": b"\x05\x00\x03\xcc\x02\x01ST", "esm_class": 0x40},
        {"text": b"\x05\x00\x03\xcc\x02\x02OP", "esm_class": 0x40},
    ),
    "16-bit references": (
        {"text": b"\x06\x08\x04\xca\xfe\x02\x01ST", "esm_class": 0x40},
        {"text": b"\x06\x08\x04\xca\xfe\x02\x02OP", "esm_class": 0x40},
    ),
    "optional parameters": (
        {"text": b"ST", "tlvs": {0x020C: b"\0\7", 0x020E: b"\2", 0x020F: b"\1"}},
        {"text": b"OP", "tlvs": {0x020C: b"\0\7", 0x020E: b"\2", 0x020F: b"\2"}},
    ),
    "UCS-2": (
        {"text": b"\x05\x00\x03\xcc\x02\x01\0S\0T", "esm_class": 0x40, "data_coding": 8},
        {"text": b"\x05\x00\x03\xcc\x02\x02\0O\0P", "esm_class": 0x40, "data_coding": 8},
    ),
    "payloads": (
        {
            "text": b"",
            "tlvs": {MESSAGE_PAYLOAD: b"\x05\x00\x03\xcc\x02\x01ST"},
            "esm_class": 0x40,
        },
        {
            "text": b"",
            "tlvs": {MESSAGE_PAYLOAD: b"\x05\x00\x03\xcc\x02\x02OP"},
            "esm_class": 0x40,
        },
    ),
}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "the last one first"])
@pytest.mark.parametrize("form", PART_FORMS)
async def test_a_stop_in_two_parts_is_joined(form, order, phone):
    """Each part has its response at once: an SMSC may wait for it before it sends the next."""
    first, second = (PART_FORMS[form][index] for index in order)

    assert 0 == await phone.write(**first)
    assert [] == phone.messages
    assert 0 == await phone.write(**second)

    assert [inbound("STOP")] == phone.messages
    assert [] == phone.skipped_events


@pytest.mark.parametrize(
    ("source", "sender"),
    [
        (SmppAddress((1, 1), "447400123456"), "447400123456"),
        (SmppAddress((0, 0), "447400123456"), "447400123456"),
        (SmppAddress((0, 1), "+447400123456"), "+447400123456"),
        (SmppAddress((2, 1), "+447400123456"), "+447400123456"),
        (SmppAddress((2, 1), "7400123456"), ""),
        (SmppAddress((3, 0), "60606"), ""),
        (SmppAddress((4, 1), "123456"), ""),
        (SmppAddress((5, 0), "Example"), ""),
        (SmppAddress((5, 0), "447400123456"), ""),
        (SmppAddress((6, 0), "606"), ""),
    ],
)
async def test_only_a_whole_number_can_be_a_person(source, sender, phone):
    """A national number may be that of a person in another country, and a name is no person."""
    await phone.write(b"STOP", source=source)

    assert [inbound("STOP", sender)] == phone.messages


async def test_the_text_of_a_person_is_no_receipt(phone):
    """Its neighbours that are one: test_delivery_receipts.py."""
    await phone.write(b"my id: 7 stat: DELIVRD")

    assert [inbound("my id: 7 stat: DELIVRD")] == phone.messages


@pytest.mark.parametrize("esm_class", [0x08, 0x10, 0x18, 0x28, 0x3C])
async def test_other_types_of_messages_are_answered_and_counted(esm_class, phone, receipts):
    """An acknowledgement by the phone is no reply of its person; unanswered it would be repeated."""
    assert 0 == await phone.write(b"STOP", esm_class=esm_class)

    assert ([], True, [("acme", "other")]) == (
        phone.messages,
        receipts.empty(),
        phone.skipped_events,
    )


async def test_a_header_longer_than_the_text_is_counted(phone, caplog):
    """Repeated it would be no better, so it is accepted."""
    assert 0 == await phone.write(b"\xff864209 STOP", esm_class=0x40)

    assert ([], [("acme", "unreadable")]) == (phone.messages, phone.skipped_events)
    assert "acme: skipped as unreadable: esm_class 0x40, data_coding 0x00" in caplog.text
    assert CANARY not in caplog.text


@pytest.fixture
async def unhandled(create_provider, message):
    """Messages that cannot be handled while this is set, and the texts of those that were tried."""
    state = {"fails": True, "texts": []}

    async def handle(_, inbound_message):
        state["texts"].append(inbound_message.text)
        if state["fails"]:
            raise StoreUnavailable(f"{inbound_message.text} of {inbound_message.sender}")

    provider = create_provider(received_message=handle)
    await provider.send(message)
    return state


async def test_while_redis_is_away_the_smsc_has_to_repeat_it(
    smsc, unhandled, inbound_messages, caplog
):
    """R68: ESME_RX_T_APPN, as for a receipt; the log has the name of the error alone."""
    phone = Phone(smsc, inbound_messages, [])

    assert 0x64 == await phone.write(b"864209 is your code")
    unhandled["fails"] = False
    assert 0 == await phone.write(b"864209 is your code")

    assert ["864209 is your code"] * 2 == unhandled["texts"]
    assert "a delivery could not be handled: StoreUnavailable" in caplog.text
    assert CANARY not in caplog.text
    assert "447400123456" not in caplog.text


async def test_while_redis_is_away_the_last_part_alone_is_repeated(
    smsc, unhandled, inbound_messages
):
    """The SMSC has the response of the first part, and brings only the other one again."""
    phone = Phone(smsc, inbound_messages, [])
    first, last = PART_FORMS["8-bit references"]

    assert 0 == await phone.write(**first)
    assert 0x64 == await phone.write(**last)
    unhandled["fails"] = False
    assert 0 == await phone.write(**last)
    assert 0 == await phone.write(**last)  # of a message that was handled

    assert ["STOP", "STOP"] == unhandled["texts"]


async def test_messages_are_handled_in_the_order_in_which_they_come(smsc, create_provider, message):
    """An SMSC that had no session brings all it has at once: the last word of a person counts."""
    handled = []

    async def handle(_, inbound_message):
        await asyncio.sleep(
            0.1 if inbound_message.text == "STOP" else 0
        )  # Redis was slower at first
        handled.append(inbound_message.text)

    await create_provider(received_message=handle).send(message)

    for sequence, text in enumerate((b"STOP", b"START"), start=1):
        await smsc.deliver_message(ShortMessage(source=PHONE, text=text), sequence)
    await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT, 2)

    assert ["STOP", "START"] == handled


async def test_a_message_that_fails_does_not_stop_the_next_one(smsc, create_provider, message):
    """Each has its own answer."""
    handled = []

    async def handle(_, inbound_message):
        if inbound_message.text == "STOP":
            raise StoreUnavailable
        handled.append(inbound_message.text)

    await create_provider(received_message=handle).send(message)

    for sequence, text in enumerate((b"STOP", b"START"), start=1):
        await smsc.deliver_message(ShortMessage(source=PHONE, text=text), sequence)
    answers = await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT, 2)

    assert {(1, 0x64), (2, 0)} == {(each.sequence, each.status) for each in answers}
    assert ["START"] == handled


async def test_parts_over_the_sessions_of_two_workers_are_dropped(
    smsc, create_provider, message, inbound_messages, skipped_events
):
    """A text is stored nowhere, so no worker has both; each counts what it drops when it ends."""
    providers = [create_provider(), create_provider()]
    for provider in providers:
        await provider.send(message)

    for index, fields in enumerate(PART_FORMS["8-bit references"]):
        part = ShortMessage(source=PHONE, destination=OURS, **fields)
        await smsc.deliver_message(part, connection_index=index)
    await smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT, 2)
    for provider in providers:
        await provider.aclose()

    assert (True, [("acme", "incomplete")] * 2) == (inbound_messages.empty(), skipped_events)


async def test_a_part_without_the_others_is_dropped_in_time(phone, monkeypatch, caplog):
    """No text is kept longer than that, also if nothing else arrives."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(message_parts, "MAX_PART_AGE_SECONDS", 0.2)
    first, _ = PART_FORMS["8-bit references"]

    await phone.write(**first)
    async with asyncio.timeout(5):
        while not phone.skipped_events:  # noqa: ASYNC110  # a list that the provider appends to
            await asyncio.sleep(0.01)

    assert [("acme", "incomplete")] == phone.skipped_events
    text = "provider acme: long messages whose parts did not all arrive were dropped: 1"
    assert text in caplog.text


async def test_a_whole_message_leaves_nothing_to_drop(phone, provider):
    """The neighbour: its parts are gone before their time, and the end of the process drops none."""
    for fields in PART_FORMS["8-bit references"]:
        await phone.write(**fields)
    await provider.aclose()

    assert [] == phone.skipped_events


async def test_no_text_is_logged(phone, provider, caplog):
    """R68: a person may type the code to the wrong place; it is in no log line at any level."""
    caplog.set_level(logging.DEBUG)
    first, last = (
        {**fields, "text": fields["text"] + CANARY.encode()}
        for fields in PART_FORMS["16-bit references"]
    )
    await phone.write(CANARY.encode())
    await phone.write(CANARY.encode(), command=DATA_SM)
    await phone.write(CANARY.encode(), esm_class=0x08)
    await phone.write(CANARY.encode(), source=SmppAddress((2, 1), "447400123456"))
    await phone.write(b"\xff" + CANARY.encode(), esm_class=0x40)
    await phone.write(**first)
    await phone.write(**last)
    await phone.write(**first)
    await provider.aclose()

    assert [f"ST{CANARY}OP{CANARY}"] == [
        message.text for _, message in phone.messages if message.text.startswith("ST")
    ]
    for hidden in (CANARY, "447400123456", "12025550123"):
        assert hidden not in caplog.text


def test_no_repr_has_a_text_or_a_number():
    """R68: an exception, a trace or a debugger shows them."""
    short_message = ShortMessage(
        source=PHONE,
        destination=OURS,
        text=b"\x05\x00\x03\xcc\x02\x01" + CANARY.encode(),
        esm_class=0x40,
    )

    part = parse_message_part(short_message)

    assert CANARY in part.message.text
    for hidden in (CANARY, "447400123456", "12025550123"):
        assert hidden not in repr(part) + repr(short_message)


def octets_or(*usual):
    """Octets that are often some that have a meaning."""
    return st.one_of(*map(st.just, usual), st.binary(max_size=40))


HEADERS = octets_or(b"", b"\x05\x00\x03\xcc\x02\x01", b"\x05\x00\x03\xcc\x02\x02", b"\xff")
RANDOM_MESSAGES = st.builds(
    ShortMessage,
    source=st.builds(SmppAddress, st.tuples(st.integers(0, 255), st.just(1)), st.just("4474")),
    destination=st.just(OURS),
    esm_class=st.sampled_from([0x00, 0x40]) | st.integers(0, 255),
    data_coding=st.sampled_from([0, 8]) | st.integers(0, 255),
    text=st.builds(bytes.__add__, HEADERS, octets_or(b"STOP", b"id:7 stat:DELIVRD")),
    tlvs=st.dictionaries(
        st.sampled_from([0x001E, 0x020C, 0x020E, 0x020F, MESSAGE_PAYLOAD, 0x0427, 0x1400]),
        octets_or(b"\1", b"\2", b"\0\1"),
        max_size=4,
    ),
)
RANDOM_PDUS = st.lists(
    st.tuples(
        st.sampled_from([DELIVER_SM, DATA_SM]),
        RANDOM_MESSAGES.map(ShortMessage.encode) | st.binary(max_size=120),
    ),
    max_size=30,
)


async def exchange(pdus):
    """Send these over a session, and return the responses, and how often the session was bound."""
    async with FakeSmsc() as smsc:
        settings_of_session = build_settings(smsc.port)
        provider = settings_of_session.build_provider("acme", ProviderDependencies(None, lambda: 0))
        await provider.send(MESSAGE)
        for sequence, (command, body) in enumerate(pdus, start=1):
            await smsc.send_pdu(Pdu(command, sequence, body=body))
        await smsc.send_pdu(Pdu(ENQUIRE_LINK, len(pdus) + 1))
        await smsc.wait_for_pdus(ENQUIRE_LINK | RESPONSE_BIT)
        responses = [
            pdu
            for command in (DELIVER_SM, DATA_SM)
            for pdu in await smsc.wait_for_pdus(
                command | RESPONSE_BIT, sum(each[0] == command for each in pdus)
            )
        ]
        assert Accepted("7a2f") == await provider.send(MESSAGE)
        await provider.aclose()
        return responses, len(smsc.list_pdus(BIND_TRANSCEIVER))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(RANDOM_PDUS)
def test_no_pdu_ends_the_session(pdus):
    """Each is answered, as handled or as one that is not to be repeated; none raises an exception."""
    with mock.patch.object(delivery_handler, "EARLY_RECEIPT_SECONDS", 0):
        responses, binds = asyncio.run(exchange(pdus))

    assert {pdu.sequence for pdu in responses} == {*range(1, len(pdus) + 1)}
    assert {pdu.status for pdu in responses} <= {0x00, 0x65}
    assert 1 == binds
