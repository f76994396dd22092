"""Fault tables: a vendor's code, with its fault and scope, and the meaning of replies by them."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from otp_service.core.delivery import OPTED_OUT_REASON, Accepted, Fault, RefusalScope, Refused
from otp_service.sms import reply_decoder
from otp_service.sms.http_provider import HttpReply


FaultName = Literal["recipient", "blocked", "opted-out", "provider", "account", "throttled"]
FaultTable = Mapping[str, FaultName]

FAULT_SCOPES: Final[Mapping[FaultName, tuple[Fault, RefusalScope]]] = {
    "recipient": (Fault.RECIPIENT, RefusalScope.MESSAGE),
    "blocked": (Fault.RECIPIENT, RefusalScope.BLOCKED),
    "opted-out": (Fault.RECIPIENT, RefusalScope.BLOCKED),
    "provider": (Fault.PROVIDER, RefusalScope.MESSAGE),
    "account": (Fault.PROVIDER, RefusalScope.ACCOUNT),
    "throttled": (Fault.PROVIDER, RefusalScope.THROTTLED),
}
PermanentFailure = Literal["permanent-failure", "opted-out"]
PERMANENT_FAILURES: Final[Mapping[FaultName, PermanentFailure]] = {
    "recipient": "permanent-failure",
    "blocked": "permanent-failure",
    "opted-out": "opted-out",
}
"""The statuses of receipts (vendor_dialect.py) with such a code."""
NO_FAULTS: Final[FaultTable] = {}
MAX_RETRY_AFTER_SECONDS: Final = 24 * 3600

_SCOPE_BY_STATUS: Final = {
    401: RefusalScope.ACCOUNT,
    402: RefusalScope.ACCOUNT,
    403: RefusalScope.ACCOUNT,
    429: RefusalScope.THROTTLED,
}


def derive_permanent_failures(faults: FaultTable) -> dict[str, PermanentFailure]:
    """Return the failure statuses of the codes that are the recipient's fault."""
    statuses = PERMANENT_FAILURES
    return {code: statuses[name] for code, name in faults.items() if name in statuses}


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


def classify_prose(faults: FaultTable, reply: HttpReply, prefixes: Mapping[str, str]) -> Refused:
    """Return the refusal of a gateway that answers in prose: its first words give our code."""
    return classify_refusal(faults, reply, match_prefix(reply.body, prefixes))


def match_prefix(body: bytes, prefixes: Mapping[str, str]) -> str | None:
    """Return our code for a reply in prose, by its first words."""
    text = reply_decoder.decode_text(body)
    return next((code for prefix, code in prefixes.items() if text.startswith(prefix)), None)


def classify_refusal(faults: FaultTable, reply: HttpReply, code: str | None) -> Refused:
    """Return the refusal: by the vendor's table, else by the status of the reply.

    A 2xx with an error code is certain, whatever the code: nothing was sent.
    """
    name = faults.get(code or "")
    if name is None and code and reply.is_2xx:
        name = "provider"
    if name is None:
        return classify_by_status(reply, code or None)
    fault, scope = FAULT_SCOPES[name]
    reason = OPTED_OUT_REASON if name == "opted-out" else code
    return build_refusal(fault, reply, reason, scope)


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
