"""Replies and receipts without what a vendor should not have put there: numbers, codes, keys (R68).

Vendors echo what they were given, and not always where it belongs; events keep what is left.
"""

import re
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from otp_service.core.delivery import Accepted, Message, Receipt, Reply
from otp_service.core.secret import Secret


_SAFE_REASON = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SAFE_MESSAGE_ID = re.compile(r"[!-~]{1,128}")


def redact_reply(
    reply: Reply, message: Message, credential_fragments: frozenset[str] = frozenset()
) -> Reply:
    """Return a reply with an id and a reason that may be kept.

    `credentials` are the parts of what opens our account with the vendor (telltale.py).
    """
    if isinstance(reply, Accepted):
        known = reply.message_id or ""
        is_told = message.to.e164[-9:] in known.translate(
            SEPARATOR_REMOVAL_TABLE
        ) or has_credential_fragment(known, credential_fragments)
        return reply if _SAFE_MESSAGE_ID.fullmatch(known) and not is_told else Accepted()
    word = reply.reason
    if (
        _SAFE_REASON.fullmatch(word)
        and not has_message_digits(word, message)
        and not has_credential_fragment(word, credential_fragments)
    ):
        return reply
    return replace(reply, reason="unreadable")


def redact_receipt(receipt: Receipt, dialect: object) -> Receipt:
    """Return a receipt with a reason that may be kept.

    The message that it is about is not known here, so no six digits may stand in a row at all.
    """
    word = receipt.reason or ""
    if has_credential_fragment(word, extract_fragments(*iter_secrets(dialect))) or has_six_digits(
        word
    ):
        return replace(receipt, reason="unreadable")
    return receipt


SEPARATOR_REMOVAL_TABLE = str.maketrans("", "", "._:-/ ()")
"""Takes away what digits are grouped by: 447-400-718 tells as much as without the dashes."""
CREDENTIAL_FRAGMENT_CHARS = 8
"""Letters in a row of a credential that are worth something to a thief."""

_SIX_DIGITS = re.compile(r"(?=([0-9]{6}))")


def has_message_digits(word: str, message: Message) -> bool:
    """Return whether six digits in a row are also in the number or in the text."""
    known = f"{message.to.e164} {message.text}"
    return any(
        match[1] in known for match in _SIX_DIGITS.finditer(word.translate(SEPARATOR_REMOVAL_TABLE))
    )


def has_six_digits(word: str) -> bool:
    """Return whether six digits stand in a row, which might be of a number or a code."""
    return bool(_SIX_DIGITS.search(word.translate(SEPARATOR_REMOVAL_TABLE)))


def has_credential_fragment(word: str, credential_fragments: frozenset[str]) -> bool:
    """Return whether it has a part of what opens the account."""
    return not extract_fragments(word).isdisjoint(credential_fragments)


def iter_secrets(value: object) -> Iterator[str]:
    """Give every secret in the settings of a provider."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from iter_secrets(getattr(value, name))
    elif isinstance(value, dict):
        for one in value.values():
            yield from iter_secrets(one)


def extract_fragments(*words: str) -> frozenset[str]:
    """Return every so many letters in a row that nobody would write by chance."""
    return frozenset(
        word[start : start + CREDENTIAL_FRAGMENT_CHARS]
        for word in words
        for start in range(len(word) - CREDENTIAL_FRAGMENT_CHARS + 1)
    )
