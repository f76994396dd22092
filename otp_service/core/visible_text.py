"""Which characters of a name a reader does not see, so that a name is not blank.

Python's `unicodedata` has no property for them. General category C has most: controls, direction
marks, joiners, private and unassigned characters. Zl and Zp break lines. The others are in a table:
those of Default_Ignorable_Code_Point (DerivedCoreProperties.txt of Unicode 16) in other categories,
and characters that are drawn as an empty space.

Two of them are parts of emoji, and are allowed there: U+FE0F after a symbol, and U+200D between two.
Texts that only look equal, such as Latin and Cyrillic letters, are not compared here.
"""

import unicodedata


_IGNORABLE_CHARS = frozenset(
    chr(code)
    for codes in (
        [0x034F],  # combining grapheme joiner
        [0x115F, 0x1160, 0x3164, 0xFFA0],  # Hangul fillers
        [0x17B4, 0x17B5],  # Khmer inherent vowels
        [*range(0x180B, 0x1810)],  # Mongolian variation selectors and vowel separator
        [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)],  # variation selectors
    )
    for code in codes
)

_BLANK_CHARS = frozenset("\u2800\U00016fe4\U0001d159")
"""An empty Braille pattern, the Khitan filler, and a musical note without a head."""

_EMOJI_STYLE_SELECTOR = "\ufe0f"
_EMOJI_JOINER = "\u200d"
_SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))


def has_invisible_characters(text: str) -> bool:
    """Return whether a character of the text cannot be seen; spaces can, and so can whole emoji."""
    return any(
        is_invisible(char) and not _is_part_of_emoji(text, index) for index, char in enumerate(text)
    )


def is_invisible(char: str) -> bool:
    """Return whether a character cannot be seen by itself; line breaks are among them."""
    category = unicodedata.category(char)
    is_listed = char in _IGNORABLE_CHARS or char in _BLANK_CHARS
    return is_listed or category[0] == "C" or category in {"Zl", "Zp"}


def _is_part_of_emoji(text: str, index: int) -> bool:
    """Return whether an invisible character follows a symbol, and if it joins, precedes another."""
    before, after = text[:index][-1:], text[index + 1 :][:1]
    if text[index] == _EMOJI_STYLE_SELECTOR:
        return _is_symbol(before)
    has_base = _is_symbol(before) or before == _EMOJI_STYLE_SELECTOR or before in _SKIN_TONES
    return text[index] == _EMOJI_JOINER and has_base and _is_symbol(after)


def _is_symbol(char: str) -> bool:
    return bool(char) and unicodedata.category(char) == "So" and char not in _BLANK_CHARS
