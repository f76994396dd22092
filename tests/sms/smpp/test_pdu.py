"""PDUs survive any split on the wire; invalid octets are refused and never quoted."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.sms.smpp import pdu as pdus
from otp_service.sms.smpp.pdu import InvalidPduError, Pdu, PduDecoder
from otp_service.sms.smpp.pdu_bodies import (
    ALPHANUMERIC_TYPE,
    INTERNATIONAL_TYPE,
    SHORT_CODE_TYPE,
    BindRequest,
    ShortMessage,
    SmppAddress,
    format_validity_period,
    parse_message_id,
)
from tests.sms.smpp.samples import decode_bind


OCTET = st.integers(0, 255)
NUMBER = st.integers(0, 0xFFFFFFFF)


def ascii_text(most):
    """Text that a C-Octet String may contain."""
    return st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=most)


PDUS = st.builds(Pdu, NUMBER, NUMBER, NUMBER, st.binary(max_size=300))
ADDRESSES = st.builds(SmppAddress, st.tuples(OCTET, OCTET), ascii_text(20))
BINDS = st.builds(
    BindRequest,
    system_id=ascii_text(15),
    password=ascii_text(64),
    system_type=ascii_text(12),
    interface_version=OCTET,
    address_range=ADDRESSES,
)
MESSAGES = st.builds(
    ShortMessage,
    service_type=ascii_text(5),
    source=ADDRESSES,
    destination=ADDRESSES,
    esm_class=OCTET,
    protocol_id=OCTET,
    priority=OCTET,
    schedule=ascii_text(16),
    validity=ascii_text(16),
    registered_delivery=OCTET,
    replace_if_present=OCTET,
    data_coding=OCTET,
    default_message=OCTET,
    text=st.binary(max_size=254),
    tlvs=st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=300), max_size=4),
)


@given(st.lists(PDUS, max_size=5), st.integers(1, 50))
def test_pdus_come_back_however_they_are_cut(sent, size):
    """TCP keeps octets and their order, and nothing else."""
    octets = b"".join(pdu.encode() for pdu in sent)
    frames = PduDecoder()

    pieces = [octets[at : at + size] for at in range(0, len(octets), size)]

    assert sent == [pdu for piece in pieces for pdu in frames.decode_pdus(piece)]


@given(BINDS)
def test_bind_comes_back(bind):
    """All of it."""
    assert bind == decode_bind(bind.encode())


@given(MESSAGES)
def test_message_comes_back(message):
    """All of it, with its optional parameters."""
    assert message == ShortMessage.decode(message.encode())


@given(MESSAGES, st.data())
def test_a_body_that_was_cut_is_none(message, data):
    """Or is whole but for the optional parameters that were cut off."""
    octets = message.encode()
    short = octets[: data.draw(st.integers(0, len(octets) - 1))]

    try:
        read = ShortMessage.decode(short)
    except InvalidPduError:
        return
    assert len(read.tlvs) < len(message.tlvs)


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_else(octets):
    """Input from outside may be anything."""
    for read in (
        ShortMessage.decode,
        decode_bind,
        lambda body: list(PduDecoder().decode_pdus(body)),
    ):
        with suppress(InvalidPduError):
            read(octets)
    parse_message_id(octets)


@pytest.mark.parametrize("length", [0, 15, 70_000, 0xFFFFFFFF])
def test_a_length_that_cannot_be_is_refused_before_it_is_awaited(length):
    """A centre could otherwise make the client buffer four gigabytes."""
    with pytest.raises(InvalidPduError):
        list(PduDecoder().decode_pdus(struct.pack(">IIII", length, 4, 0, 1)))


def test_frame_is_that_of_the_specification():
    """3.2: length, command_id, command_status, sequence_number."""
    answer = Pdu(pdus.SUBMIT_SM | pdus.RESPONSE_BIT, 5, 0x58, b"ab\0")

    assert bytes.fromhex("00000013 80000004 00000058 00000005 616200") == answer.encode()


def test_message_is_that_of_the_specification():
    """4.4.1, field by field."""
    message = ShortMessage(
        source=SmppAddress.from_sender_id("Example"),
        destination=SmppAddress(INTERNATIONAL_TYPE, "447400123456"),
        validity=format_validity_period(290),
        registered_delivery=1,
        data_coding=8,
        text=b"\x00A",
    )
    expected = [
        b"\0",  # service_type
        b"\x05\x00Example\0",  # source: alphanumeric
        b"\x01\x01447400123456\0",  # destination: international, ISDN
        b"\0\0\0",  # esm_class, protocol_id, priority_flag
        b"\0",  # schedule_delivery_time
        b"000000000450000R\0",  # validity_period: 4 minutes and 50 seconds from now
        b"\x01\0\x08\0",  # registered_delivery, replace, data_coding, sm_default_msg_id
        b"\x02\x00A",  # sm_length, short_message
    ]

    assert b"".join(expected) == message.encode()


@pytest.mark.parametrize(
    ("sender", "kind", "text"),
    [
        ("", (0, 0), ""),
        ("Example", ALPHANUMERIC_TYPE, "Example"),
        ("+447400000000", INTERNATIONAL_TYPE, "447400000000"),
        ("447400000000", INTERNATIONAL_TYPE, "447400000000"),
        ("60123", SHORT_CODE_TYPE, "60123"),
    ],
)
def test_senders_are_of_a_kind(sender, kind, text):
    """5.2.5: an SMSC refuses a name with the type of a number."""
    assert SmppAddress(kind, text) == SmppAddress.from_sender_id(sender)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "000000000001000R"),
        (59, "000000000059000R"),
        (290, "000000000450000R"),
        (3600, "000000010000000R"),
        (90_061, "000001010101000R"),
    ],
)
def test_validity_is_never_longer(seconds, written):
    """7.1.1.2: YYMMDDhhmmss, and R for relative."""
    assert written == format_validity_period(seconds)


@pytest.mark.parametrize("value", ["é", "a\0b", "123456789012345678901"])
def test_a_value_that_does_not_fit_a_field_is_refused_and_not_quoted(value):
    """R68: the error may be logged."""
    with pytest.raises(ValueError, match="too long, or not ASCII") as raised:
        SmppAddress(ALPHANUMERIC_TYPE, value).encode()

    assert value not in str(raised.value)


def test_nothing_shows_what_it_holds():
    """Tracebacks print structs."""
    message = ShortMessage(
        destination=SmppAddress(INTERNATIONAL_TYPE, "447400123456"), text=b"864209"
    )
    bind = BindRequest(system_id="tester", password="s3cret")
    shown = f"{message!r} {bind!r} {message.destination!r} {Pdu(4, 1, 0, message.encode())!r}"

    for hidden in ("447400123456", "864209", "s3cret", "tester"):
        assert hidden not in shown


def test_no_id_where_there_is_none():
    """4.4.2: some centres leave the body out."""
    assert ["", "", "7a2f"] == [parse_message_id(body) for body in (b"", b"\0", b"7a2f\0")]
