"""The text of an SMS, and the SMS that it is billed as.

    Your Example code is 123456. It is valid for 5 min. Do not share it.
    FA+9qCX9VSu             <- the Android app that may read it (SMS Retriever), if there is one
    @example.com #123456    <- the site that may fill it in (WICG sms-one-time-codes), if any

Its values are from closed sets: the brand of the configuration, digits, minutes. No value of a
request is ever part of a message.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

import msgspec

from otp_service.core.errors import InvalidRequest
from otp_service.core.gsm_alphabet import GSM_OCTETS, count_septets, simplify_character
from otp_service.core.language_tag import list_translation_tags, parse_locale
from otp_service.core.message_templates import MESSAGE_TEMPLATES, get_template
from otp_service.core.visible_text import has_invisible_characters


# What fits the 140 octets of one SMS, alone and as a part of several (3GPP TS 23.040, 9.2.3.24.1).
_GSM_SINGLE_SEPTETS: Final = 160
_GSM_PART_SEPTETS: Final = 153
_UCS2_SINGLE_UNITS: Final = 70
_UCS2_PART_UNITS: Final = 67

# The longest message that Android's SMS Retriever reads.
_MAX_ANDROID_BYTES: Final = 140
_ANDROID_HASH_PATTERN: Final = re.compile(r"[A-Za-z0-9+/]{11}")

_HOST_LABEL_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_PATTERN: Final = re.compile(rf"(?:{_HOST_LABEL_PATTERN}\.)+(?=[a-z]){_HOST_LABEL_PATTERN}")

MAX_BRAND_CHARS: Final = 20
_MAX_NAMED_CHARS: Final = 3
# What a phone would make a link of; the other dots are those of IDNA (UTS 46, 4.5).
_LINK_PATTERN: Final = re.compile(r"://|www\.|\S[.\u3002\uff0e\uff61]\w{2}", re.IGNORECASE)


class MessageRenderer(msgspec.Struct, frozen=True):
    """The messages of one configuration. An invalid value raises ValueError.

    A reader of a language that is not in `languages` gets `default_locale`.
    """

    brand: str
    host: str | None = None
    android_hash: str | None = None
    default_locale: str = "en"
    languages: frozenset[str] = frozenset(MESSAGE_TEMPLATES)

    def __post_init__(self) -> None:
        validate_brand(self.brand)
        if self.host is not None and _HOST_PATTERN.fullmatch(self.host) is None:
            raise ValueError("host: write the bare domain in lower case, like example.com.")
        app_hash = self.android_hash
        if app_hash is not None and _ANDROID_HASH_PATTERN.fullmatch(app_hash) is None:
            raise ValueError("android_hash: write the app's 11 characters, like FA+9qCX9VSu.")
        if unknown := sorted(self.languages - MESSAGE_TEMPLATES.keys()):
            known = ", ".join(MESSAGE_TEMPLATES)
            raise ValueError(f"languages: take out {', '.join(unknown)}; there are {known}.")
        self._select_language(None)

    def render(self, code: str, minutes: int, locale: str | None = None) -> str:
        """Return the message for a locale that `parse_locale` returned.

        An unknown locale falls back to its language, and an unknown language to `default_locale`.
        """
        if not (code.isascii() and code.isalnum()):
            raise ValueError("Only ASCII digits and letters can be the code of a message.")
        text = get_template(self._select_language(locale), self.brand)
        lines = [text.format(brand=self.brand, code=code, minutes=minutes)]
        if self.android_hash is not None:
            lines.append(self.android_hash)
        if self.host is not None:
            # Nothing is allowed before the @, and exactly one space after the host: "Parsing" in
            # the specification, which is all that phones agree on.
            lines.append(f"@{self.host} #{code}")
        return "\n".join(lines)

    def _select_language(self, locale: str | None) -> str:
        for tag in chain(list_translation_tags(locale or ""), self._list_default_tags()):
            if tag in self.languages:
                return tag
        known = ", ".join(sorted(self.languages))
        raise ValueError(f"default_locale: take one of the languages: {known}.")

    def _list_default_tags(self) -> Iterator[str]:
        try:
            yield from list_translation_tags(parse_locale(self.default_locale))
        except InvalidRequest:
            return


def validate_brand(brand: str) -> None:
    """Raise ValueError unless the brand is safe in every message.

    A line break could add a second `@host #code` line, and a link could be tapped.
    """
    if not brand or brand != brand.strip() or len(brand) > MAX_BRAND_CHARS:
        raise ValueError(f"brand: use 1 to {MAX_BRAND_CHARS} characters, no space at either end.")
    if has_invisible_characters(brand):
        raise ValueError("brand: take out line breaks and characters that cannot be seen.")
    if "@" in brand or "#" in brand:
        raise ValueError("brand: take out @ and #; phones find the site and the code by them.")
    if _LINK_PATTERN.search(brand):
        raise ValueError("brand: write a name, not an address: phones make links of those.")


def validate_messages(renderer: MessageRenderer, digits: int, max_minutes: int) -> None:
    """Raise ValueError that names each language whose longest message exceeds one SMS.

    With an app hash the limit of SMS Retriever applies too. Called at the start, so that no message
    is billed as two (R39).
    """
    max_bytes, too_long = _MAX_ANDROID_BYTES if renderer.android_hash else None, []
    shortened = False  # whether a message is too long because of a character of the brand
    for language in sorted(renderer.languages):
        text = renderer.render("0" * digits, max_minutes, language)
        if excess := _describe_excess(text, max_bytes):
            too_long.append(f"{language} ({excess})")
            shortened |= (
                count_septets(text) is None
                and count_septets(MESSAGE_TEMPLATES[language]) is not None
            )
    if too_long:
        remedy = "Shorten brand or host, or leave these out of languages."
        if shortened:
            remedy = _describe_costly_characters(renderer.brand)
        raise ValueError(f"These messages are too long: {', '.join(too_long)}. {remedy}")


def count_segments(text: str) -> int:
    """Return how many SMS the text is billed as: in GSM 03.38 where possible, else UCS-2."""
    if count_septets(text) is not None:
        septets = [len(GSM_OCTETS[char]) for char in text]
        return _count_parts(septets, _GSM_SINGLE_SEPTETS, _GSM_PART_SEPTETS)
    units = [_count_utf16_units(char) for char in text]
    return _count_parts(units, _UCS2_SINGLE_UNITS, _UCS2_PART_UNITS)


def _count_parts(costs: list[int], single_capacity: int, part_capacity: int) -> int:
    if sum(costs) <= single_capacity:
        return 1
    # No character is split: an escape stays with its letter, and a surrogate with its pair.
    count, room = 1, part_capacity
    for cost in costs:
        if cost > room:
            count, room = count + 1, part_capacity
        room -= cost
    return count


def _count_utf16_units(text: str) -> int:
    return sum(2 if char > "\uffff" else 1 for char in text)


def _describe_costly_characters(brand: str) -> str:
    """Return the characters of a brand that shorten its messages, with what to write instead."""
    costly = [char for char in dict.fromkeys(brand) if count_septets(char) is None]
    named = []
    for char in costly[:_MAX_NAMED_CHARS]:
        simple = simplify_character(char)
        advice = f", write {simple}" if simple else ""
        named.append(f"{char} (U+{ord(char):04X}{advice})")
    more = " and others" if len(costly) > len(named) else ""
    return (
        f"An SMS with a character that GSM 03.38 lacks has {_UCS2_SINGLE_UNITS} characters instead of "
        f"{_GSM_SINGLE_SEPTETS}, and the brand has {', '.join(named)}{more}. Write the brand without "
        "them, shorten brand or host, or leave these out of languages."
    )


def _describe_excess(text: str, max_bytes: int | None) -> str:
    size, room = count_septets(text), _GSM_SINGLE_SEPTETS
    if size is None:
        size, room = _count_utf16_units(text), _UCS2_SINGLE_UNITS
    if size > room:
        return f"{size} of {room} characters"
    size = len(text.encode())
    if max_bytes is not None and size > max_bytes:
        return f"{size} of {max_bytes} bytes"
    return ""
