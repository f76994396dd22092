"""What is handed to providers, what they answer, and what that means for the delivery."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import msgspec

from otp_service.core.phone import PhoneNumber


class Fault(StrEnum):
    """Whose fault it is that a submission was not accepted, and so what to do next."""

    RECIPIENT = "recipient"
    """The number's: every provider would refuse it, so stop. (Fraud blocks count here.)"""
    PROVIDER = "provider"
    """The provider's, the account's or the route's: nothing was sent, try the next."""
    UNKNOWN = "unknown"
    """It may have been sent: try the next one with the same code, expect a duplicate."""


class Message(msgspec.Struct, frozen=True):
    """One send, as every provider gets it. Its `repr` would hold a code: never log it."""

    to: PhoneNumber
    text: str
    reference: str
    """Ours, opaque to providers, and another one for each submission; comes back in receipts."""
    valid_for: int
    """Seconds for which delivering it still makes sense."""
    sender: str | None = None
    tenant: str = ""
    callback: str | None = None
    """Where receipts of this submission are to be brought, with a token in it; None for nowhere."""

    def __repr__(self) -> str:
        return f"Message({self.to.masked}, {self.reference})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # The one that msgspec gives each struct would show the text to pretty tracebacks.
        return [("to", self.to), ("reference", self.reference)]


class Accepted(msgspec.Struct, frozen=True):
    """The provider took the message; `message_id` is its own name for it."""

    message_id: str | None = None


class About(StrEnum):
    """What a refusal speaks of, and so whether it says anything about the next message."""

    MESSAGE = "message"
    """This message: another one may well be taken."""
    ACCOUNT = "account"
    """Credentials, credit, suspension, a sender that is not ours: somebody has to act."""
    THROTTLED = "throttled"
    """Too much at once: it asked to be left alone."""
    SILENCE = "silence"
    """Nobody answered, or nobody could be reached."""


class Refused(msgspec.Struct, frozen=True):
    """The provider did not (certainly) take it."""

    fault: Fault
    reason: str
    """The provider's code or ours, for operators: short, never with the text or the number."""
    retry_after: int | None = None
    """Seconds for which the provider asked to be left alone."""
    about: About = About.MESSAGE


Reply = Accepted | Refused


class Submission(msgspec.Struct, frozen=True):
    """One message handed to one provider, and what became of it."""

    provider: str
    outcome: Literal["accepted", "refused", "unknown"]
    fault: Fault | None
    reason: str | None
    at: int
    """Milliseconds: since the send began as the router gives it, since 1970 once stored."""
    milliseconds: int
    message_id: str | None = None

    @classmethod
    def of(cls, provider: str, reply: Reply, *, at: int, milliseconds: int) -> "Submission":
        """Return the submission that a provider answered with this reply."""
        if isinstance(reply, Accepted):
            return cls(provider, "accepted", None, None, at, milliseconds, reply.message_id)
        outcome: Literal["refused", "unknown"] = (
            "unknown" if reply.fault is Fault.UNKNOWN else "refused"
        )
        return cls(provider, outcome, reply.fault, reply.reason, at, milliseconds)

    @property
    def may_be_billed(self) -> bool:
        """Whether the provider may have sent it, and will want money for it."""
        return self.outcome != "refused"


class Receipt(msgspec.Struct, frozen=True):
    """A provider's later news about one submission, as its dialect has understood it."""

    status: Literal[
        "delivered", "pending", "temporary-failure", "permanent-failure", "technical-failure"
    ]
    """permanent-failure: the number's fault, or a fraud block. technical-failure: failed for good,
    and another provider may do better."""
    reference: str = ""
    """Ours, if the vendor gives it back; what stands in the callback's address comes first."""
    message_id: str = ""
    """The vendor's own name for the message."""
    reason: str | None = None
    """The vendor's short code, if it failed; never its prose."""
    is_signed: bool = False
    """Whether the vendor has signed it, and so nobody else can have said it."""


DeliveryStatus = Literal[
    "submitted",
    "delivered",
    "pending",
    "temporary-failure",
    "permanent-failure",
    "technical-failure",
]


def status(submissions: Sequence[Submission]) -> DeliveryStatus:
    """Return what the submissions of a challenge say of its delivery, before any receipt."""
    outcomes = {submission.outcome for submission in submissions}
    if "accepted" in outcomes:
        return "submitted"
    if "unknown" in outcomes or not submissions:
        return "pending"
    return "permanent-failure" if recipient_fault(submissions) else "technical-failure"


def recipient_fault(submissions: Sequence[Submission]) -> str | None:
    """Return the reason if a provider put the refusal on the number itself."""
    for submission in submissions:
        if submission.fault is Fault.RECIPIENT:
            return submission.reason
    return None


def billed(submissions: Sequence[Submission]) -> int:
    """Return how many messages of these submissions may have to be paid for."""
    return sum(submission.may_be_billed for submission in submissions)
