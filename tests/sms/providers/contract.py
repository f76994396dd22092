"""How one vendor's gateway says the things that they all say: an entry of a contract."""

from collections.abc import Callable
from typing import Any, NamedTuple

from otp_service.core.delivery import About
from otp_service.sms.http import Dialect


class Says(NamedTuple):
    """A reply of the gateway."""

    status: int
    body: Any


class Contract(NamedTuple):
    """How one vendor's gateway says each of the things that they all say."""

    dialect: Callable[[str], Dialect]
    accepted: Says
    message_id: str
    recipient: Says | None
    """None if no reply of this vendor ever puts it on the number; its receipts may."""
    recipient_code: str
    account: Says
    account_code: str
    throttled: Says
    throttled_code: str
    unknown: Says
    unknown_code: str
    without_id: Says
    account_about: About = About.ACCOUNT
    """MESSAGE where nothing but a code of its settings tells."""


SHORT: dict[str, Any] = {"connect_timeout": 0.3, "read_timeout": 0.3}
"""Timeouts that a test can wait for."""
