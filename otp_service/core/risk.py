"""The check of a number by the operator's risk service before a send (R31).

SIM-swap, porting and line-type services are behind it. It is asked about a send and never about a
code, which is not drawn yet, or is not part of the question.
"""

from enum import StrEnum
from typing import Final, Literal

import msgspec

from otp_service.core.phone_number import PhoneNumber


RiskCall = Literal["issue", "resend", "auto-resend", "deliver"]
"""Which send is asked about; an auto-resend is one that a lost message causes."""

RISK_REASON: Final = "risk"
"""The reason of a refusal, for callers and in events."""


class RiskAnswer(StrEnum):
    ALLOW = "allow"
    REFUSE = "refuse"
    UNKNOWN_NUMBER = "unknown-number"
    """As `allow`, but the send is no exempt one, also if its number has verified here before."""
    FAILED = "failed"
    """No answer; the setting `risk.on_failure` decides."""


class RiskFault(StrEnum):
    """Why there is no answer."""

    TIMEOUT = "timeout"
    CONNECT_ERROR = "connect-error"
    DISCONNECTED = "disconnected"
    REDIRECT = "redirect"
    STATUS = "status"
    REPLY_TOO_BIG = "reply-too-big"
    UNREADABLE = "unreadable"
    INTERNAL = "internal"


class RiskQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a risk service is asked. Its `repr` is empty: the fields are a person's."""

    call: RiskCall
    phone: PhoneNumber
    purpose: str
    tenant: str
    request_id: str
    account: str | None = None
    client_ip: str | None = None

    def __repr__(self) -> str:
        return "RiskQuery()"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []  # msgspec's own would show the fields


class RiskAssessment(msgspec.Struct, frozen=True):
    """What came of one check."""

    answer: RiskAnswer
    reason: str | None = None
    """The code that the service gave, or the RiskFault."""
    is_refusal: bool = False
    """Whether nothing is sent: the service refused, or failed where that refuses."""
