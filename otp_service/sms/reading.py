"""What vendors write, read into the few things that a dialect wants to know of it."""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeVar

import msgspec

from otp_service.core.delivery import About, Fault, Refused
from otp_service.sms.http import HttpReply, by_status, refused


T = TypeVar("T")

Failure = Literal["temporary-failure", "permanent-failure", "technical-failure"]

_NONE: Mapping[str, str] = {}
_CODE = re.compile(r"[0-9]{1,5}")


class Table(NamedTuple):
    """A vendor's codes, and what each of them means: whose fault it is, as its file explains."""

    recipient: Mapping[str, str] = _NONE
    account: Mapping[str, str] = _NONE
    throttled: Mapping[str, str] = _NONE
    provider: Mapping[str, str] = _NONE
    """Certainly not sent, although the status (5xx) says nothing of the kind."""
    temporary: Mapping[str, str] = _NONE
    """In receipts: the phone cannot be reached now."""

    def refusal(self, reply: HttpReply, code: str | None) -> Refused:
        """Return what a reply means that is no acceptance."""
        if code in self.recipient:
            return refused(Fault.RECIPIENT, reply, code)
        if code in self.account:
            return refused(Fault.PROVIDER, reply, code, About.ACCOUNT)
        if code in self.throttled:
            return refused(Fault.PROVIDER, reply, code, About.THROTTLED)
        if code in self.provider or (code and 200 <= reply.status < 300):  # noqa: PLR2004
            return refused(Fault.PROVIDER, reply, code, About.MESSAGE)  # a 2xx may name an error
        return by_status(reply, code)

    def failure(self, code: str | None) -> Failure:
        """Return what became of a message that failed for good with this code."""
        if code in self.recipient:
            return "permanent-failure"
        return "temporary-failure" if code in self.temporary else "technical-failure"


def read(body: bytes, kind: type[T]) -> T | None:
    """Return the JSON as a struct, or None if it is nothing of the kind."""
    try:
        return must_read(body, kind)
    except ValueError:
        return None


def must_read(body: bytes, kind: type[T]) -> T:
    """Return the JSON as a struct. Raises ValueError, and nothing else, if it is not of the kind."""
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def word(answer: bytes, words: Mapping[str, str]) -> str | None:
    """Return our word for a reply that is prose, by what it begins with."""
    text = answer.decode(errors="replace")
    return next((ours for begins, ours in words.items() if text.startswith(begins)), None)


def short_code(value: str | int | None) -> str | None:
    """Return a vendor's number for an error, or None for what may be a phone number or a code.

    Reasons of receipts come from outside, and are kept and logged (R68).
    """
    text = str(value)
    return text if _CODE.fullmatch(text) else None
