"""What the dialects of vendors share: requests, receipts and messages. (Replies: fault_table.py.)

`RECEIPT_STATUSES` of a dialect maps the vendor's word in a receipt to ours; `FAILURE_STATUSES` maps
the code of a technical failure.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import urlencode

import msgspec

from otp_service.core import delivery
from otp_service.core.delivery import OPTED_OUT_REASON, Receipt
from otp_service.core.inbound import Keyword
from otp_service.sms.http_provider import Headers, HttpRequest
from otp_service.sms.provider_callbacks import CallbackPart, SkippedEvent


ReceiptStatus = delivery.ReceiptStatus | Literal["opted-out"]
"""The statuses of core.delivery.Receipt, and a permanent failure by the person's opt-out."""

NO_FAILURE_STATUSES: Final[Mapping[str, ReceiptStatus]] = {}

_SAFE_CODE_PATTERN: Final = re.compile(r"(?!.*[0-9]{6})[A-Za-z0-9._-]{1,40}")


class HiddenFields(msgspec.Struct, frozen=True):
    """A body with personal data. Its `repr` omits the fields."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []  # msgspec's own would show the fields


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


def build_receipt(  # noqa: PLR0913  # each vendor has some of them
    status: ReceiptStatus | None,
    code: str | int | None = None,
    *,
    failure_statuses: Mapping[str, ReceiptStatus] = NO_FAILURE_STATUSES,
    reference: str | None = None,
    message_id: str = "",
    is_signed: bool = False,
) -> CallbackPart:
    """Return a receipt; its code is the reason, and decides what a technical failure was.

    Without a status it is another event: the vendor's word is in no table.
    """
    known = resolve_receipt_status(status, code, failure_statuses)
    if known is None:
        return SkippedEvent.OTHER
    if known == "opted-out":
        known, code = "permanent-failure", OPTED_OUT_REASON
    reason = sanitize_reason(known, code)
    return Receipt(known, reference or "", message_id, reason, is_signed=is_signed)


def resolve_receipt_status(
    status: ReceiptStatus | None,
    code: str | int | None,
    failure_statuses: Mapping[str, ReceiptStatus],
) -> ReceiptStatus | None:
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


def choose_message_text(text: str | None, vendor_keyword: str | None) -> str:
    """Return the keyword that the vendor has found in a message, or else the text of the message.

    The vendor knows the keywords of its account, in more languages than the settings here. What it
    reads as STOP it blocks by itself, so this service follows it. Any other word of the vendor is
    not used.
    """
    keyword = (vendor_keyword or "").lower()
    return keyword.upper() if keyword in frozenset(Keyword) else text or ""
