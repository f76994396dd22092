"""A call as it is sent, and what the functions that build one share."""

from datetime import datetime
from typing import Any, ClassVar, Final, Generic, TypeVar
from urllib.parse import quote

from otp_service_client.redaction import RedactedStruct


T = TypeVar("T")

REPLY_TIMEOUT_SECONDS: Final = 5.0
SEND_TIMEOUT_SECONDS: Final = 15.0
"""Of calls that send a message: providers have 8 s, and the service answers within 7 s more."""


class Call(RedactedStruct, Generic[T], frozen=True):
    """A call of one operation, and how its reply is read."""

    shown: ClassVar = ("operation",)

    operation: str
    method: str
    path: str
    result_type: type[T]
    """NoneType for a reply without a body."""
    success_status: int = 200
    body: dict[str, Any] | None = None
    query: dict[str, Any] | None = None
    takes_key: bool = False
    """Whether the service takes an Idempotency-Key: a repetition runs once."""
    idempotency_key: str | None = None
    """The caller's; a fresh one by default."""
    is_idempotent: bool = False
    """Whether it may be repeated without a key."""
    timeout_seconds: float = REPLY_TIMEOUT_SECONDS


def quote_id(text: str) -> str:
    """Return an id for a path. A slash in it becomes `%2F`, which no path of a call may have."""
    return quote(text, safe="", errors="replace")


def omit_none(**members: Any) -> dict[str, Any]:
    """Return the members that have a value. Instants become text (RFC 3339)."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in members.items()
        if value is not None
    }
