"""Text that is safe on a terminal, in a table and in the log (R70)."""

import re


MAX_VALUE_CHARS = 200
"""Characters of one value in a row of a table."""

_PHONE_NUMBER_PATTERN = re.compile(r"(\d[ ().-]{0,2}){9}")


def escape_unprintable(text: str) -> str:
    """Return the text with each unprintable character escaped: control, bidi and line breaks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def format_value(value: object) -> str:
    """Return a value as printable text, cut at 200 characters, so that it stays in its cell."""
    return escape_unprintable(str(value)[:MAX_VALUE_CHARS])


def has_word(text: str, word: str) -> bool:
    """Whether a text contains a word, in any case, and not only inside a longer one."""
    pattern = rf"(?<!\w){re.escape(word.casefold())}(?!\w)"
    return re.search(pattern, text.casefold()) is not None


def has_phone_number(reason: str) -> bool:
    """Whether a reason, which the log keeps, may contain a phone number (R68)."""
    return _PHONE_NUMBER_PATTERN.search(reason) is not None
