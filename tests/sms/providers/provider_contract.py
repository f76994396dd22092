"""What every vendor's gateway says, in its own words: the shape of an entry in contracts/."""

from collections.abc import Callable
from typing import Any, NamedTuple

from otp_service.core.delivery import About
from otp_service.sms.http_provider import Dialect


class Says(NamedTuple):
    """A reply of the gateway."""

    status: int
    body: Any


class Contract(NamedTuple):
    """How one vendor's gateway says each of the things that they all say."""

    dialect: Callable[[str], Dialect]
    accepted: Says
    message_id: str | None
    account: Says
    account_code: str
    throttled: Says
    throttled_code: str
    unknown: Says
    unknown_code: str
    recipient: Says | None = None
    """None where nothing that it says puts the fault on the number."""
    recipient_code: str = ""
    without_id: Says | None = None
    """None where it gives no id."""
    account_about: About = About.ACCOUNT
    """MESSAGE where nothing but a code of its settings tells."""


SHORT: dict[str, Any] = {"connect_timeout": 1.0, "read_timeout": 1.0}
