"""The header before a text, against octets that were written by hand from 3GPP TS 23.040, 9.2.3.24."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.sms.smpp.pdu import InvalidPduError
from otp_service.sms.smpp.pdu_bodies import ShortMessage
from otp_service.sms.smpp.user_data import MESSAGE_PAYLOAD, Segment, find_segment, split_user_data


SAR = {0x020C: b"\x01\x02", 0x020E: b"\2", 0x020F: b"\1"}


def read(octets, esm_class=0x40, **tlvs):
    """The place and the text of a message with these octets."""
    short_message = ShortMessage(esm_class=esm_class, text=octets, **tlvs)
    user_data = split_user_data(short_message)
    return find_segment(user_data, short_message), user_data.octets


@pytest.mark.parametrize(
    ("octets", "segment"),
    [
        (b"\x05\x00\x03\xcc\x02\x01ST", Segment("8-bit", 0xCC, 2, 1)),
        (b"\x06\x08\x04\xca\xfe\x02\x01ST", Segment("16-bit", 0xCAFE, 2, 1)),
        (b"\x08\x24\x01\x01\x00\x03\xcc\x02\x01ST", Segment("8-bit", 0xCC, 2, 1)),
        (b"\x0b\x05\x04\x0b\x84\x00\x00\x00\x03\xcc\xff\xffST", Segment("8-bit", 0xCC, 255, 255)),
        (b"\x0a\x00\x03\xcc\x02\x01\x00\x03\xcd\x03\x02ST", Segment("8-bit", 0xCD, 3, 2)),
        (b"\x03\x24\x01\x01ST", None),
        (b"\x00ST", None),
        (b"\x05\x00\x03\xcc\x00\x00ST", None),
        (b"\x05\x00\x03\xcc\x03\x07ST", None),
        (b"\x05\x00\x03\xcc\x03\x00ST", None),
        (b"\x04\x00\x02\xcc\x02ST", None),
        (b"\x05\x08\x03\xcc\x02\x01ST", None),
        (b"\x05\x24\x09\xcc\x02\x01ST", None),
        (b"\x06\x24\x01\x01\x00\x03\xccST", None),
        (b"\x01\x24ST", None),
    ],
)
def test_place_and_text_are_found(octets, segment):
    """8 and 16 bits, after other elements, the last one of several; what cannot be is ignored."""
    assert (segment, b"ST") == read(octets)


@pytest.mark.parametrize("octets", [b"", b"\x05\x00\x03\xcc", b"\xffSTOP", b"\x05STOP"])
def test_a_header_longer_than_the_text_is_refused(octets):
    """Nothing says where its text begins."""
    with pytest.raises(InvalidPduError):
        split_user_data(ShortMessage(esm_class=0x40, text=octets))


def test_without_the_flag_there_is_no_header():
    """A text may begin with any octet."""
    assert (None, b"\x05\x00\x03\xcc\x02\x01ST") == read(b"\x05\x00\x03\xcc\x02\x01ST", esm_class=0)


@pytest.mark.parametrize(
    ("tlvs", "segment"),
    [
        (SAR, Segment("sar", 0x0102, 2, 1)),
        (SAR | {0x020F: b"\2"}, Segment("sar", 0x0102, 2, 2)),
        (SAR | {0x020F: b"\3"}, None),
        (SAR | {0x020F: b"\0"}, None),
        (SAR | {0x020E: b"\0", 0x020F: b"\0"}, None),
        (SAR | {0x020C: b"\1"}, None),
        ({0x020C: b"\x01\x02"}, None),
        ({0x020E: b"\2", 0x020F: b"\1"}, None),
    ],
)
def test_place_in_optional_parameters(tlvs, segment):
    """All three of them, or none (5.3.2.22)."""
    assert (segment, b"ST") == read(b"ST", esm_class=0, tlvs=tlvs)


def test_header_in_a_payload():
    """The payload is in place of the text, and has its header."""
    payload = {MESSAGE_PAYLOAD: b"\x05\x00\x03\xcc\x02\x01ST"}

    assert (Segment("8-bit", 0xCC, 2, 1), b"ST") == read(b"", tlvs=payload)


@given(
    st.binary(max_size=254),
    st.integers(0, 255),
    st.dictionaries(st.sampled_from([*SAR, MESSAGE_PAYLOAD]), st.binary(max_size=4)),
)
def test_any_octets_have_a_possible_place_or_none(octets, esm_class, tlvs):
    """Input from outside may be anything."""
    try:
        segment, text = read(octets, esm_class, tlvs=tlvs)
    except InvalidPduError:
        return
    assert (octets or tlvs.get(MESSAGE_PAYLOAD, b"")).endswith(text)
    assert segment is None or 1 <= segment.number <= segment.total <= 255
