"""Texts as octets, as core counts them."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core.gsm_alphabet import count_septets
from otp_service.sms.smpp.text_codec import DEFAULT_ALPHABET_CODING, UCS2_CODING, encode_text


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
