"""Texts as octets, as core counts them, and octets as texts."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core.gsm_alphabet import count_septets
from otp_service.sms.smpp.text_codec import (
    DEFAULT_ALPHABET_CODING,
    UCS2_CODING,
    decode_text,
    encode_text,
)


def test_every_character_is_in_the_alphabet_that_core_counts_it_in():
    """Nothing is billed in one alphabet and sent in another."""
    for char in map(chr, range(0x10000)):
        if "\ud800" <= char <= "\udfff":
            continue
        coding, octets = encode_text(char)
        assert count_septets(char) == (len(octets) if coding == DEFAULT_ALPHABET_CODING else None)


def test_places_are_those_of_the_standard():
    """3GPP TS 23.038, 6.2.1: the ones that differ from ASCII, and the extension table."""
    text = "@£$¥\n_Δ ΞÆ¤AZ§az€[~"

    assert "00010203 0a11 10 20 1a1c 24 415a 5f 617a 1b65 1b3c 1b3d".replace(" ", "") == (
        encode_text(text)[1].hex()
    )


# The first text of all takes seconds: hypothesis makes its table of Unicode.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=70))
def test_ucs2_comes_back(text):
    """UTF-16 in big endian, which is what phones read."""
    coding, octets = encode_text(f"код {text}")

    assert (UCS2_CODING, f"код {text}") == (coding, octets.decode("utf-16-be"))


@pytest.mark.parametrize(
    ("data_coding", "octets", "text"),
    [
        (0, b"STOP", "STOP"),
        (0, b"\x00\x01\x02\x03\x11\x20\x5b\x7b", "@£$¥_ Ää"),
        (0, b"\x1b\x65\x1b\x3c\x1b\x3e", "€[]"),
        (0, b"\x1bIPTAL NO M\x1bAS", "IPTAL NO MAS"),
        (0, b"S\x1b", "S "),
        (0, b"\x1b\x1bS", " S"),
        (0, b"ARR\xcaT", "ARRÊT"),
        (1, b"STOP", "STOP"),
        (1, b"STOP\0", "STOP"),
        (3, b"ARR\xcaT [1]", "ARRÊT [1]"),
        (6, b"\xc1\xc2\xbe\xbf", "СТОП"),
        (7, b"\xe4\xf1\xf8", "הסר"),
        (5, b"STOP", "STOP"),
        (10, b"\x1b$B$O\x1b(B", "は"),
        (13, b"STOP", "STOP"),
        (14, b"\xc1\xa4\xc1\xf6", "정지"),
        (8, b"\0S\0T\0O\0P", "STOP"),
        (8, b"\0S\0T\0O\0P\0\0", "STOP"),
        (8, b"\x01\x30\0P\0T\0A\0L", "İPTAL"),
        (8, b"\xfe\xff\0S\0T\0O\0P", "STOP"),
        (8, b"\xff\xfeS\0T\0O\0P\0", "STOP"),
        (8, b"\xd8\x3d\xde\x00", "😀"),
        (8, b"\0S\0", "S\ufffd"),
        (2, b"STOP", ""),
        (4, b"STOP", ""),
        (0x10, b"\x00", "@"),
        (0x14, b"STOP", ""),
        (0x18, b"\0S", "S"),
        (0x48, b"\0S", "S"),
        (0xF0, b"\x00S", "@S"),
        (0xF1, b"\x00S", "@S"),
        (0xF4, b"STOP", ""),
        (0xF7, b"STOP", ""),
        (0xFF, b"STOP", ""),
        (0xC8, b"\x00", "@"),
        (0xE8, b"\0S", "S"),
        (0x0F, b"\x00S", "@S"),
        (0x80, b"\x00S", "@S"),
    ],
)
def test_octets_of_every_coding_become_text(data_coding, octets, text):
    """Written by hand from 5.2.19, and from 3GPP TS 23.038 for the schemes of phones."""
    assert text == decode_text(data_coding, octets)


TURKISH = bytes([0x04, 0x07, 0x0B, 0x0C, 0x1C, 0x1D, 0x40, 0x60]) + b"PTAL"


@pytest.mark.parametrize("data_coding", [0, 1, 0xF1])
def test_turkish_alphabet_is_that_of_the_standard(data_coding):
    """3GPP TS 23.038, A.3.1; the package `smpp` gives data_coding 1 for it."""
    assert "€ıĞğŞşİçPTAL" == decode_text(data_coding, TURKISH, is_turkish=True)


def test_turkish_alphabet_replaces_the_default_one_only():
    """UCS-2 has all letters, and binary data none."""
    assert "è" == decode_text(8, b"\x00\xe8", is_turkish=True)
    assert "" == decode_text(4, TURKISH, is_turkish=True)
    assert "èìØøÆæ¡¿PTAL" == decode_text(0, TURKISH)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=70).filter(lambda text: text[:1] not in {"\ufeff", "\ufffe"}))
def test_what_we_write_can_be_read(text):
    """The reader is the inverse of the writer, but for NULs at the end and a byte order mark."""
    assert text.rstrip("\0") == decode_text(*encode_text(text))


@given(st.integers(0, 255), st.binary(max_size=300), st.booleans())
def test_no_octets_raise_an_error(data_coding, octets, is_turkish):
    """Input from outside may be anything."""
    assert len(decode_text(data_coding, octets, is_turkish=is_turkish)) <= len(octets)


def test_plain_letters_are_the_same_in_every_coding_of_text():
    """A keyword of letters and spaces is found whatever the default alphabet of an SMSC is."""
    text = "Stop All 2"
    read = {coding: decode_text(coding, text.encode()) for coding in range(256)}
    read_wide = {coding: decode_text(coding, text.encode("utf-16-be")) for coding in range(256)}
    scheme_of_phones = [coding for coding in range(0x10, 0x80) if coding & 0xC == 4]

    binary = {coding for coding, found in read.items() if not found}
    wide = {coding for coding, found in read_wide.items() if found == text}
    assert binary == {2, 4, *scheme_of_phones, *range(0xF4, 0xF8), *range(0xFC, 0x100)}
    assert {coding for coding, found in read.items() if found == text} == {
        *range(256)
    } - binary - wide
    assert 8 in wide
