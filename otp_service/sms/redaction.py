"""Replies and receipts without what a vendor should not have put there: numbers, codes, keys (R68).

Vendors echo what they were given, and not always where it belongs; events keep what is left.
"""

import re
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from otp_service.core.delivery import Accepted, Message, Receipt, Reply
from otp_service.core.secret import Secret


_SLUG = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_MESSAGE_ID = re.compile(r"[!-~]{1,128}")


def presentable_reply(
    reply: Reply, message: Message, credentials: frozenset[str] = frozenset()
) -> Reply:
    """Return a reply with an id and a reason that may be kept.

    `credentials` are the parts of what opens our account with the vendor (telltale.py).
    """
    if isinstance(reply, Accepted):
        known = reply.message_id or ""
        is_told = message.to.e164[-9:] in known.translate(UNGROUPED) or opens(known, credentials)
        return reply if _MESSAGE_ID.fullmatch(known) and not is_told else Accepted()
    word = reply.reason
    if _SLUG.fullmatch(word) and not gives_away(word, message) and not opens(word, credentials):
        return reply
    return replace(reply, reason="unreadable")


def presentable_receipt(news: Receipt, dialect: object) -> Receipt:
    """Return a receipt with a reason that may be kept.

    The message that it is about is not known here, so no six digits may stand in a row at all.
    """
    word = news.reason or ""
    if opens(word, parts_of(*secrets_in(dialect))) or has_six_digits(word):
        return replace(news, reason="unreadable")
    return news


UNGROUPED = str.maketrans("", "", "._:-/ ()")
"""Takes away what digits are grouped by: 447-400-718 tells as much as without the dashes."""
TELLING = 8
"""Letters in a row of a credential that are worth something to a thief."""

_SIX_DIGITS = re.compile(r"(?=([0-9]{6}))")


def gives_away(word: str, message: Message) -> bool:
    """Return whether six digits in a row are also in the number or in the text."""
    known = f"{message.to.e164} {message.text}"
    return any(match[1] in known for match in _SIX_DIGITS.finditer(word.translate(UNGROUPED)))


def has_six_digits(word: str) -> bool:
    """Return whether six digits stand in a row, which might be of a number or a code."""
    return bool(_SIX_DIGITS.search(word.translate(UNGROUPED)))


def opens(word: str, credentials: frozenset[str]) -> bool:
    """Return whether it has a part of what opens the account."""
    return not parts_of(word).isdisjoint(credentials)


def secrets_in(value: object) -> Iterator[str]:
    """Give every secret in the settings of a provider."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        for one in value.values():
            yield from secrets_in(one)


def parts_of(*words: str) -> frozenset[str]:
    """Return every so many letters in a row that nobody would write by chance."""
    return frozenset(
        word[start : start + TELLING] for word in words for start in range(len(word) - TELLING + 1)
    )
