"""Replies and receipts without what a vendor should not have put there: events keep them (R68)."""

import re

from msgspec.structs import replace

from otp_service.core.delivery import Accepted, Message, Receipt, Reply
from otp_service.sms.telltale import (
    UNGROUPED,
    gives_away,
    has_six_digits,
    opens,
    parts_of,
    secrets_in,
)


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
