"""What a reply means by its status alone, where its dialect's tables know nothing of it."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from otp_service.core.delivery import About, Fault, Refused
from otp_service.sms.http import HttpReply


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
