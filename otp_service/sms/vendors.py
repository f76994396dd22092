"""What the dialects of named vendors share: a JSON POST, a verdict per code, JSON that is checked."""

import re
from collections.abc import Mapping
from typing import Literal, TypeVar

import msgspec

from otp_service.core.delivery import About, Accepted, Fault, Refused
from otp_service.sms.http import HttpReply, HttpRequest, by_status, refused


Verdict = tuple[Fault, About]
"""Whose fault a code puts it on, and what it speaks of."""

RECIPIENT: Verdict = (Fault.RECIPIENT, About.MESSAGE)
PROVIDER: Verdict = (Fault.PROVIDER, About.MESSAGE)
ACCOUNT: Verdict = (Fault.PROVIDER, About.ACCOUNT)
THROTTLED: Verdict = (Fault.PROVIDER, About.THROTTLED)

Outcome = Literal[
    "delivered", "pending", "temporary-failure", "permanent-failure", "technical-failure"
]
"""What a receipt says became of the message; see core.delivery.Receipt.status."""

_CODE = re.compile(r"(?!.*[0-9]{6})[A-Za-z0-9._-]{1,40}")

Read = TypeVar("Read")


def post_json(url: str, authorization: str, fields: Mapping[str, object]) -> HttpRequest:
    """Return a POST of these fields, without those that are empty."""
    given = {name: value for name, value in fields.items() if value not in ("", None)}
    headers = (("content-type", "application/json"), ("authorization", authorization))
    return HttpRequest("POST", url, headers, msgspec.json.encode(given))


def read(body: bytes, kind: type[Read]) -> Read:
    """Return JSON as this struct. Raises ValueError if it is none, without a word of it."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("not the JSON that was expected") from None


def read_or(otherwise: Read, body: bytes) -> Read:
    """Return JSON as a struct of the same kind, or this one if it cannot be read."""
    try:
        return read(body, type(otherwise))
    except ValueError:
        return otherwise


def accepted(message_id: str | None) -> Accepted | Refused:
    """Return what a 2xx means: without the vendor's name for the message nothing is proved."""
    return Accepted(message_id) if message_id else Refused(Fault.UNKNOWN, "no-message-id")


def refusal(table: Mapping[str, Verdict], reply: HttpReply, code: str) -> Refused:
    """Return what a refusal means: by the vendor's table, and else by its status."""
    if code not in table:
        return by_status(reply, code or None)
    fault, about = table[code]
    return refused(fault, reply, code, about)


def reason(outcome: Outcome, code: str | int | None) -> str | None:
    """Return the code that a receipt keeps: the vendor's, of a failure only (R68).

    Never prose, and no six digits in a row, which might be of a number or a code.
    """
    if code in (None, "") or not outcome.endswith("failure"):
        return None
    return str(code) if _CODE.fullmatch(str(code)) else "unreadable"
