"""Characters that cannot be seen are found; letters of every script, spaces and emoji pass."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.visible_text import has_invisible_characters


INVISIBLE = [
    *("\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u3164", "\uffa0"),
    *("\u180b", "\u180c", "\u180d", "\u180e", "\u180f", "\ufe00", "\ufe0f", "\U000e0100"),
    *("\u2800", "\U00016fe4", "\U0001d159"),
    *("\u00ad", "\u061c", "\u200b", "\u200c", "\u200d", "\u200e", "\u202e", "\u2060", "\u2064"),
    *("\u2065", "\u2069", "\ufeff", "\ufff0", "\U0001bca0", "\U0001d173", "\U000e0001"),
    *("\x00", "\x7f", "\n", "\u2028", "\u2029", "\ud800", "\ue000"),
]


@pytest.mark.parametrize("char", INVISIBLE, ids=lambda char: f"{ord(char):04X}")
def test_a_character_that_is_not_drawn_is_found_wherever_it_is(char):
    for text in (char, f"{char}alice", f"al{char}ice", f"alice{char}", char * 64):
        assert has_invisible_characters(text)


EMOJI = [
    *("\u2764", "\u2764\ufe0f", "\u2642\ufe0f", "\U0001f468\u200d\U0001f4bb"),
    *("\U0001f44d\U0001f3fd", "\U0001f469\U0001f3fd\u200d\U0001f4bb"),
    *("\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
]


@pytest.mark.parametrize("emoji", EMOJI, ids=ascii)
def test_an_emoji_passes_with_its_joiners(emoji):
    for text in (emoji, f"alice {emoji}", f"{emoji}{emoji} alice"):
        assert not has_invisible_characters(text)


@pytest.mark.parametrize(
    "text",
    [
        "a\ufe0f",
        "\ufe0f\u2764",
        "\u2764\ufe0f\ufe0f",
        "\u2764\u200d",
        "\u2764\u200da",
        "a\u200d\u2764",
        "\u2764\u200d\u200d\u2764",
        "\u2800\ufe0f",
        "\u2764\u200d\u2800",
        "\U0001f44d\U0001f3fd\ufe0f",
    ],
    ids=ascii,
)
def test_a_joiner_that_is_no_part_of_an_emoji_is_found(text):
    assert has_invisible_characters(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "alice@example.com",
            "Jos\u00e9 \u00c1",
            "\u674e\u3000\u96f7",
            "\u0627\u062d\u0645\u062f",
        ),
        *("\ud55c\uad6d", "\u0e2a\u0e21\u0e0a\u0e32\u0e22", "\u0928\u093f\u0936\u093e", "\u1100"),
    ],
    ids=ascii,
)
def test_names_of_all_scripts_pass(text):
    assert not has_invisible_characters(text)


@given(st.characters(categories=["L", "N", "P", "Sm", "Sc"]))
def test_of_letters_only_fillers_are_found(char):
    is_filler = "FILLER" in unicodedata.name(char, "")

    assert is_filler == has_invisible_characters(char)
