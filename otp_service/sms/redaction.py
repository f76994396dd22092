"""Redaction: replies and receipts without numbers, codes and credentials (R68).

Vendors echo parts of a request, at times in an unexpected place; events store what remains here.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from otp_service.core.delivery import Accepted, Message, Receipt, Reply
from otp_service.core.secret import Secret


SEPARATOR_REMOVAL_TABLE: Final = str.maketrans("", "", "._:-/ ()")
"""For grouped digits: 447-400-718 discloses as much as without the dashes."""
CREDENTIAL_FRAGMENT_CHARS: Final = 8
"""Consecutive characters of a credential that would help an attacker."""

_SAFE_REASON_PATTERN: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SAFE_MESSAGE_ID_PATTERN: Final = re.compile(r"[!-~]{1,128}")
_SIX_DIGITS_PATTERN: Final = re.compile(r"(?=([0-9]{6}))")


def redact_reply(reply: Reply, message: Message, fragments: frozenset[str] = frozenset()) -> Reply:
    """Return the reply without an unsafe message id or reason."""
    word = (reply.message_id if isinstance(reply, Accepted) else reply.reason) or ""
    has_credential = has_credential_fragment(word, fragments)
    if isinstance(reply, Accepted):
        has_number = message.to.e164[-9:] in word.translate(SEPARATOR_REMOVAL_TABLE)
        is_safe = _SAFE_MESSAGE_ID_PATTERN.fullmatch(word) and not (has_number or has_credential)
        return reply if is_safe else Accepted()
    has_digits = has_message_digits(word, message)
    is_safe = _SAFE_REASON_PATTERN.fullmatch(word) and not (has_digits or has_credential)
    return reply if is_safe else replace(reply, reason="unreadable")


def redact_receipt(receipt: Receipt, dialect: object) -> Receipt:
    """Return the receipt without an unsafe reason.

    Its message is not known here, so no six consecutive digits are allowed at all.
    """
    reason, fragments = receipt.reason or "", extract_fragments(*iter_secrets(dialect))
    if has_credential_fragment(reason, fragments) or has_six_digits(reason):
        return replace(receipt, reason="unreadable")
    return receipt


def has_message_digits(word: str, message: Message) -> bool:
    """Whether six consecutive digits are also in the number or in the text."""
    known = f"{message.to.e164} {message.text}"
    digits = _SIX_DIGITS_PATTERN.finditer(word.translate(SEPARATOR_REMOVAL_TABLE))
    return any(match[1] in known for match in digits)


def has_six_digits(word: str) -> bool:
    """Whether there are six consecutive digits, which may be of a number or a code."""
    return bool(_SIX_DIGITS_PATTERN.search(word.translate(SEPARATOR_REMOVAL_TABLE)))


def has_credential_fragment(word: str, fragments: frozenset[str]) -> bool:
    """Whether it contains a part of a credential."""
    return not extract_fragments(word).isdisjoint(fragments)


def iter_secrets(value: object) -> Iterator[str]:
    """Yield every secret in the settings of a provider."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from iter_secrets(getattr(value, name))
    elif isinstance(value, dict):
        for member in value.values():
            yield from iter_secrets(member)


def extract_fragments(*words: str) -> frozenset[str]:
    """Return all substrings of 8 characters, which no vendor repeats by chance."""
    return frozenset(
        word[start : start + CREDENTIAL_FRAGMENT_CHARS]
        for word in words
        for start in range(len(word) - CREDENTIAL_FRAGMENT_CHARS + 1)
    )
