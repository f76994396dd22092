"""The structure of an entry in contracts/: replies and receipts in the format of each vendor."""

from collections.abc import Callable
from typing import Any, NamedTuple

from otp_service.core.delivery import RefusalScope
from otp_service.sms.http_provider import Dialect


class GatewayReply(NamedTuple):
    """A reply of the gateway."""

    status: int
    body: Any


class ProviderContract(NamedTuple):
    """How one vendor's gateway says each of the things that they all say."""

    dialect: Callable[[str], Dialect]
    accepted: GatewayReply
    message_id: str | None
    account: GatewayReply
    account_code: str
    throttled: GatewayReply
    throttled_code: str
    unknown: GatewayReply
    unknown_code: str
    recipient: GatewayReply | None = None
    """None where nothing that it says puts the fault on the number."""
    recipient_code: str = ""
    without_id: GatewayReply | None = None
    """None where it gives no id."""
    taken_without_id: GatewayReply | None = None
    """Where a word of the reply says that the message was taken, whatever its id."""
    account_scope: RefusalScope = RefusalScope.ACCOUNT
    """MESSAGE where only a code in its settings decides."""


SHORT_TIMEOUTS: dict[str, Any] = {"connect_timeout": 1.0, "read_timeout": 1.0}
