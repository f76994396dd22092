"""What the dialects of vendors share: requests, what a reply means, and what is kept of a receipt."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal, TypeVar
from urllib.parse import urlencode

import msgspec

from otp_service.core.delivery import Accepted, Fault, RefusalScope, Refused
from otp_service.sms.http_provider import Headers, HttpReply, HttpRequest


MAX_RETRY_AFTER_SECONDS = 24 * 3600

_SCOPE_BY_STATUS = {
    401: RefusalScope.ACCOUNT,
    402: RefusalScope.ACCOUNT,
    403: RefusalScope.ACCOUNT,
    429: RefusalScope.THROTTLED,
}


def build_refusal(
    fault: Fault, reply: HttpReply, code: str | None, scope: RefusalScope | None = None
) -> Refused:
    """Return a refusal with the vendor's code, or the status where there is none.

    What it is about is told by the status unless the dialect knows better.
    """
    said = scope or _SCOPE_BY_STATUS.get(reply.status, RefusalScope.MESSAGE)
    return Refused(fault, code or f"http-{reply.status}", parse_retry_after(reply.headers), said)


def classify_by_status(reply: HttpReply, code: str | None = None) -> Refused:
    """Return what a reply means that its dialect's tables do not know.

    A 4xx with an unknown code is the provider's, never the recipient's: a wrong "recipient"
    denies somebody the login. A 5xx, or a 2xx that is not what it should be, may have been sent.
    """
    if reply.status == 503 and "retry-after" in reply.headers:  # noqa: PLR2004
        return build_refusal(Fault.PROVIDER, reply, code, RefusalScope.THROTTLED)
    fault = Fault.PROVIDER if 400 <= reply.status < 500 else Fault.UNKNOWN  # noqa: PLR2004
    return build_refusal(fault, reply, code)


def parse_retry_after(headers: Mapping[str, str]) -> int | None:
    """Return the seconds to wait: as given, or from the reply's own Date to the date given."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(int(value), MAX_RETRY_AFTER_SECONDS)
    until, now = _parse_http_date(value), _parse_http_date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return max(0, min(int((until - now).total_seconds()), MAX_RETRY_AFTER_SECONDS))


def _parse_http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else None


FaultEntry = tuple[Fault, RefusalScope]
"""Whose fault a code puts it on, and what it speaks of."""

RECIPIENT_FAULT: FaultEntry = (Fault.RECIPIENT, RefusalScope.MESSAGE)
PROVIDER_FAULT: FaultEntry = (Fault.PROVIDER, RefusalScope.MESSAGE)
ACCOUNT_FAULT: FaultEntry = (Fault.PROVIDER, RefusalScope.ACCOUNT)
THROTTLED_FAULT: FaultEntry = (Fault.PROVIDER, RefusalScope.THROTTLED)

FaultTable = Mapping[str, FaultEntry]
"""The table that a dialect opens with: a vendor's code, and what it means."""

ReceiptStatus = Literal[
    "delivered", "pending", "temporary-failure", "permanent-failure", "technical-failure"
]
"""What a receipt says became of the message; see core.delivery.Receipt.status."""

NO_FAULTS: FaultTable = {}

_SAFE_CODE = re.compile(r"(?!.*[0-9]{6})[A-Za-z0-9._-]{1,40}")

StructT = TypeVar("StructT")


def build_json_request(url: str, authorization: str, fields: Mapping[str, object]) -> HttpRequest:
    """Return a POST of these fields, without those that are empty."""
    given = {name: value for name, value in fields.items() if value not in ("", None)}
    headers = (("content-type", "application/json"), ("authorization", authorization))
    return HttpRequest("POST", url, headers, msgspec.json.encode(given))


def build_form_request(
    url: str, authorization: str, fields: Mapping[str, str | None]
) -> HttpRequest:
    """Return the same as a form; the header is left out too if it is empty."""
    given = {name: value for name, value in fields.items() if value}
    headers: Headers = (("content-type", "application/x-www-form-urlencoded"),)
    if authorization:
        headers = (*headers, ("authorization", authorization))
    return HttpRequest("POST", url, headers, urlencode(given).encode())


def decode_json(body: bytes | str, struct_type: type[StructT]) -> StructT:
    """Return JSON as this struct. Raises ValueError if it is none, without a word of it."""
    try:
        return msgspec.json.decode(body, type=struct_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("not the JSON that was expected") from None


def decode_json_or(default: StructT, body: bytes) -> StructT:
    """Return JSON as a struct of the same kind, or this one if it cannot be read."""
    try:
        return decode_json(body, type(default))
    except ValueError:
        return default


def match_prefix(body: bytes, codes_by_prefix: Mapping[str, str]) -> str | None:
    """Return our word for a reply that is prose, by what it begins with."""
    text = body.decode(errors="replace")
    return next((ours for begins, ours in codes_by_prefix.items() if text.startswith(begins)), None)


def classify_reply(
    reply: HttpReply,
    message_id: str | None,
    faults: FaultTable = NO_FAULTS,
    code: str | None = None,
) -> Accepted | Refused:
    """Return what a reply means: a 2xx by its name for the message, any other by its code."""
    return (
        reply_from_message_id(message_id) if reply.is_2xx else classify_refusal(faults, reply, code)
    )


def reply_from_message_id(message_id: str | None) -> Accepted | Refused:
    """Return what a 2xx means: without the vendor's name for the message nothing is proved."""
    return Accepted(message_id) if message_id else Refused(Fault.UNKNOWN, "no-message-id")


def classify_refusal(faults: FaultTable, reply: HttpReply, code: str | None) -> Refused:
    """Return what a reply means that is no acceptance: by the vendor's table, else by its status.

    A 2xx that names an error is no doubt, whatever the error: nothing was sent.
    """
    verdict = faults.get(code or "")
    if verdict is None and code and reply.is_2xx:
        verdict = PROVIDER_FAULT
    if verdict is None:
        return classify_by_status(reply, code or None)
    fault, about = verdict
    return build_refusal(fault, reply, code, about)


def derive_permanent_failures(faults: FaultTable) -> dict[str, ReceiptStatus]:
    """Return what a receipt makes of the codes that put it on the number."""
    return {
        code: "permanent-failure" for code, (fault, _) in faults.items() if fault is Fault.RECIPIENT
    }


def resolve_receipt_status(
    status: ReceiptStatus, code: str | int | None, failure_statuses: Mapping[str, ReceiptStatus]
) -> ReceiptStatus:
    """Return what became of a message: of a technical failure, its code may know better."""
    return failure_statuses.get(str(code), status) if status == "technical-failure" else status


def sanitize_reason(status: ReceiptStatus, code: str | int | None) -> str | None:
    """Return the code that a receipt keeps: the vendor's, of a failure only (R68).

    Never prose, and no six digits in a row, which might be of a number or a code.
    """
    if code in (None, "") or not status.endswith("failure"):
        return None
    return str(code) if _SAFE_CODE.fullmatch(str(code)) else "unreadable"
