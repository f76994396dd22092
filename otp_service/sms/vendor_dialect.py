"""What the dialects of vendors share: requests, what a reply means, and what is kept of a receipt."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal, TypeVar
from urllib.parse import urlencode

import msgspec

from otp_service.core.delivery import About, Accepted, Fault, Refused
from otp_service.sms.http_provider import Headers, HttpReply, HttpRequest


LONGEST_WAIT = 24 * 3600

_ABOUT = {401: About.ACCOUNT, 402: About.ACCOUNT, 403: About.ACCOUNT, 429: About.THROTTLED}


def refused(
    fault: Fault, reply: HttpReply, code: str | None, about: About | None = None
) -> Refused:
    """Return a refusal with the vendor's code, or the status where there is none.

    What it is about is told by the status unless the dialect knows better.
    """
    said = about or _ABOUT.get(reply.status, About.MESSAGE)
    return Refused(fault, code or f"http-{reply.status}", retry_after(reply.headers), said)


def by_status(reply: HttpReply, code: str | None = None) -> Refused:
    """Return what a reply means that its dialect's tables do not know.

    A 4xx with an unknown code is the provider's, never the recipient's: a wrong "recipient"
    denies somebody the login. A 5xx, or a 2xx that is not what it should be, may have been sent.
    """
    if reply.status == 503 and "retry-after" in reply.headers:  # noqa: PLR2004
        return refused(Fault.PROVIDER, reply, code, About.THROTTLED)
    fault = Fault.PROVIDER if 400 <= reply.status < 500 else Fault.UNKNOWN  # noqa: PLR2004
    return refused(fault, reply, code)


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Return the seconds to wait: as given, or from the reply's own Date to the date given."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(int(value), LONGEST_WAIT)
    until, now = _date(value), _date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return max(0, min(int((until - now).total_seconds()), LONGEST_WAIT))


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else None


Verdict = tuple[Fault, About]
"""Whose fault a code puts it on, and what it speaks of."""

RECIPIENT: Verdict = (Fault.RECIPIENT, About.MESSAGE)
PROVIDER: Verdict = (Fault.PROVIDER, About.MESSAGE)
ACCOUNT: Verdict = (Fault.PROVIDER, About.ACCOUNT)
THROTTLED: Verdict = (Fault.PROVIDER, About.THROTTLED)

Verdicts = Mapping[str, Verdict]
"""The table that a dialect opens with: a vendor's code, and what it means."""

Outcome = Literal[
    "delivered", "pending", "temporary-failure", "permanent-failure", "technical-failure"
]
"""What a receipt says became of the message; see core.delivery.Receipt.status."""

NONE: Verdicts = {}

_CODE = re.compile(r"(?!.*[0-9]{6})[A-Za-z0-9._-]{1,40}")

Read = TypeVar("Read")


def post_json(url: str, authorization: str, fields: Mapping[str, object]) -> HttpRequest:
    """Return a POST of these fields, without those that are empty."""
    given = {name: value for name, value in fields.items() if value not in ("", None)}
    headers = (("content-type", "application/json"), ("authorization", authorization))
    return HttpRequest("POST", url, headers, msgspec.json.encode(given))


def post_form(url: str, authorization: str, fields: Mapping[str, str | None]) -> HttpRequest:
    """Return the same as a form; the header is left out too if it is empty."""
    given = {name: value for name, value in fields.items() if value}
    headers: Headers = (("content-type", "application/x-www-form-urlencoded"),)
    if authorization:
        headers = (*headers, ("authorization", authorization))
    return HttpRequest("POST", url, headers, urlencode(given).encode())


def read(body: bytes | str, kind: type[Read]) -> Read:
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


def word(answer: bytes, words: Mapping[str, str]) -> str | None:
    """Return our word for a reply that is prose, by what it begins with."""
    text = answer.decode(errors="replace")
    return next((ours for begins, ours in words.items() if text.startswith(begins)), None)


def judged(
    reply: HttpReply, message_id: str | None, faults: Verdicts = NONE, code: str | None = None
) -> Accepted | Refused:
    """Return what a reply means: a 2xx by its name for the message, any other by its code."""
    return accepted(message_id) if reply.is_2xx else refusal(faults, reply, code)


def accepted(message_id: str | None) -> Accepted | Refused:
    """Return what a 2xx means: without the vendor's name for the message nothing is proved."""
    return Accepted(message_id) if message_id else Refused(Fault.UNKNOWN, "no-message-id")


def refusal(faults: Verdicts, reply: HttpReply, code: str | None) -> Refused:
    """Return what a reply means that is no acceptance: by the vendor's table, else by its status.

    A 2xx that names an error is no doubt, whatever the error: nothing was sent.
    """
    verdict = faults.get(code or "")
    if verdict is None and code and reply.is_2xx:
        verdict = PROVIDER
    if verdict is None:
        return by_status(reply, code or None)
    fault, about = verdict
    return refused(fault, reply, code, about)


def permanent(faults: Verdicts) -> dict[str, Outcome]:
    """Return what a receipt makes of the codes that put it on the number."""
    return {
        code: "permanent-failure" for code, (fault, _) in faults.items() if fault is Fault.RECIPIENT
    }


def outcome(said: Outcome, code: str | int | None, codes: Mapping[str, Outcome]) -> Outcome:
    """Return what became of a message: of a technical failure, its code may know better."""
    return codes.get(str(code), said) if said == "technical-failure" else said


def reason(said: Outcome, code: str | int | None) -> str | None:
    """Return the code that a receipt keeps: the vendor's, of a failure only (R68).

    Never prose, and no six digits in a row, which might be of a number or a code.
    """
    if code in (None, "") or not said.endswith("failure"):
        return None
    return str(code) if _CODE.fullmatch(str(code)) else "unreadable"
