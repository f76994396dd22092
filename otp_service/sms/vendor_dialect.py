"""What the dialects of vendors share: requests, fault tables, and how replies and receipts are read.

A `FaultTable` maps a vendor's code to its fault and scope. `RECEIPT_STATUSES` of a dialect maps the
vendor's word in a receipt to ours; `FAILURE_STATUSES` maps the code of a technical failure.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal, TypeVar
from urllib.parse import urlencode

import msgspec

from otp_service.core.delivery import Accepted, Fault, Receipt, RefusalScope, Refused
from otp_service.sms.http_provider import Headers, HttpReply, HttpRequest
from otp_service.sms.receipt_callbacks import UnreadableReceipt


FaultEntry = tuple[Fault, RefusalScope]
FaultTable = Mapping[str, FaultEntry]

RECIPIENT_FAULT: Final[FaultEntry] = (Fault.RECIPIENT, RefusalScope.MESSAGE)
PROVIDER_FAULT: Final[FaultEntry] = (Fault.PROVIDER, RefusalScope.MESSAGE)
ACCOUNT_FAULT: Final[FaultEntry] = (Fault.PROVIDER, RefusalScope.ACCOUNT)
THROTTLED_FAULT: Final[FaultEntry] = (Fault.PROVIDER, RefusalScope.THROTTLED)

ReceiptStatus = Literal[
    "delivered", "pending", "temporary-failure", "permanent-failure", "technical-failure"
]
"""The statuses of core.delivery.Receipt that a receipt can report."""

NO_FAULTS: Final[FaultTable] = {}
NO_FAILURE_STATUSES: Final[Mapping[str, ReceiptStatus]] = {}
MAX_RETRY_AFTER_SECONDS: Final = 24 * 3600

_SCOPE_BY_STATUS: Final = {
    401: RefusalScope.ACCOUNT,
    402: RefusalScope.ACCOUNT,
    403: RefusalScope.ACCOUNT,
    429: RefusalScope.THROTTLED,
}
_SAFE_CODE_PATTERN: Final = re.compile(r"(?!.*[0-9]{6})[A-Za-z0-9._-]{1,40}")

StructT = TypeVar("StructT")
WordT = TypeVar("WordT", str, int)


def build_json_request(url: str, authorization: str, fields: Mapping[str, object]) -> HttpRequest:
    """Return a POST of these fields as JSON, without the empty ones."""
    given = {name: value for name, value in fields.items() if value not in ("", None)}
    headers = (("content-type", "application/json"), ("authorization", authorization))
    return HttpRequest("POST", url, headers, msgspec.json.encode(given))


def build_form_request(
    url: str, authorization: str, fields: Mapping[str, str | None]
) -> HttpRequest:
    """Return a POST of these fields as a form, without the empty ones or an empty header."""
    given = {name: value for name, value in fields.items() if value}
    headers: Headers = (("content-type", "application/x-www-form-urlencoded"),)
    if authorization:
        headers = (*headers, ("authorization", authorization))
    return HttpRequest("POST", url, headers, urlencode(given).encode())


def decode_json(body: bytes | str, struct_type: type[StructT]) -> StructT:
    """Return JSON as this struct. Raises ValueError, whose text quotes nothing of the body."""
    try:
        return msgspec.json.decode(body, type=struct_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("not the JSON that was expected") from None


def decode_json_or(default: StructT, body: bytes) -> StructT:
    """Return JSON as a struct of the type of `default`, or `default` if it cannot be decoded."""
    try:
        return decode_json(body, type(default))
    except ValueError:
        return default


def decode_receipt(body: bytes | str, struct_type: type[StructT]) -> StructT:
    """Return the JSON of a receipt as this struct. Raises UnreadableReceipt."""
    try:
        return decode_json(body, struct_type)
    except ValueError:
        raise UnreadableReceipt from None


def convert_receipt(fields: Mapping[str, str], struct_type: type[StructT]) -> StructT:
    """Return the form or query of a receipt as this struct. Raises UnreadableReceipt."""
    try:
        return msgspec.convert(fields, struct_type)
    except msgspec.ValidationError:
        raise UnreadableReceipt from None


def get_receipt_status(statuses: Mapping[WordT, ReceiptStatus], word: WordT) -> ReceiptStatus:
    """Return our status for a vendor's word. Raises UnreadableReceipt for an unknown one."""
    if word not in statuses:
        raise UnreadableReceipt
    return statuses[word]


def build_receipt(  # noqa: PLR0913  # each vendor has some of them
    status: ReceiptStatus,
    code: str | int | None = None,
    *,
    failure_statuses: Mapping[str, ReceiptStatus] = NO_FAILURE_STATUSES,
    reference: str | None = None,
    message_id: str = "",
    is_signed: bool = False,
) -> Receipt:
    """Return a receipt, whose code decides what a technical failure was and is its reason."""
    known = resolve_receipt_status(status, code, failure_statuses)
    reason = sanitize_reason(known, code)
    return Receipt(known, reference or "", message_id, reason, is_signed=is_signed)


def derive_permanent_failures(faults: FaultTable) -> dict[str, ReceiptStatus]:
    """Return the failure statuses of the codes that are the recipient's fault."""
    return {
        code: "permanent-failure" for code, (fault, _) in faults.items() if fault is Fault.RECIPIENT
    }


def resolve_receipt_status(
    status: ReceiptStatus, code: str | int | None, failure_statuses: Mapping[str, ReceiptStatus]
) -> ReceiptStatus:
    """Return the status; that of the code for a technical failure with a known code."""
    return failure_statuses.get(str(code), status) if status == "technical-failure" else status


def sanitize_reason(status: ReceiptStatus, code: str | int | None) -> str | None:
    """Return the reason that is stored: the vendor's code, for a failure only (R68).

    A code with prose, or with six digits in a row, which may be of a number or a code, is
    `unreadable`.
    """
    if code in (None, "") or not status.endswith("failure"):
        return None
    return str(code) if _SAFE_CODE_PATTERN.fullmatch(str(code)) else "unreadable"


def classify_reply(
    reply: HttpReply,
    message_id: str | None,
    faults: FaultTable = NO_FAULTS,
    code: str | None = None,
) -> Accepted | Refused:
    """Return the meaning of a reply: of a 2xx by its message id, of any other by its code."""
    if reply.is_2xx:
        return reply_from_message_id(message_id)
    return classify_refusal(faults, reply, code)


def reply_from_message_id(message_id: str | None) -> Accepted | Refused:
    """Return the meaning of a 2xx: without a message id the message may not have been sent."""
    return Accepted(message_id) if message_id else Refused(Fault.UNKNOWN, "no-message-id")


def classify_prose(
    faults: FaultTable, reply: HttpReply, codes_by_prefix: Mapping[str, str]
) -> Refused:
    """Return the refusal of a gateway that answers in prose: its first words give our code."""
    return classify_refusal(faults, reply, match_prefix(reply.body, codes_by_prefix))


def match_prefix(body: bytes, codes_by_prefix: Mapping[str, str]) -> str | None:
    """Return our code for a reply in prose, by its first words."""
    text = body.decode(errors="replace")
    return next((code for prefix, code in codes_by_prefix.items() if text.startswith(prefix)), None)


def classify_refusal(faults: FaultTable, reply: HttpReply, code: str | None) -> Refused:
    """Return the refusal: by the vendor's table, else by the status of the reply.

    A 2xx with an error code is certain, whatever the code: nothing was sent.
    """
    entry = faults.get(code or "")
    if entry is None and code and reply.is_2xx:
        entry = PROVIDER_FAULT
    if entry is None:
        return classify_by_status(reply, code or None)
    fault, scope = entry
    return build_refusal(fault, reply, code, scope)


def classify_by_status(reply: HttpReply, code: str | None = None) -> Refused:
    """Return the refusal for a reply whose code is in no table.

    A 4xx with an unknown code is the provider's fault, never the recipient's: a wrong "recipient"
    denies a person the login. A 5xx, or a 2xx of an unexpected form, may have been sent.
    """
    if reply.status == 503 and "retry-after" in reply.headers:  # noqa: PLR2004
        return build_refusal(Fault.PROVIDER, reply, code, RefusalScope.THROTTLED)
    fault = Fault.PROVIDER if 400 <= reply.status < 500 else Fault.UNKNOWN  # noqa: PLR2004
    return build_refusal(fault, reply, code)


def build_refusal(
    fault: Fault, reply: HttpReply, code: str | None, scope: RefusalScope | None = None
) -> Refused:
    """Return a refusal with the vendor's code, or `http-STATUS` without one.

    The status decides the scope unless the dialect gives one.
    """
    known = scope or _SCOPE_BY_STATUS.get(reply.status, RefusalScope.MESSAGE)
    return Refused(fault, code or f"http-{reply.status}", parse_retry_after(reply.headers), known)


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
