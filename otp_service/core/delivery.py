"""What is handed to providers, what they answer, and what that means for the delivery."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec

from otp_service.core.phone_number import PhoneNumber


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
    """Ours, opaque to providers, and another one for each submission (`at`); see `SubmissionReference`."""
    validity_seconds: int
    """Seconds for which delivering it still makes sense."""
    sender: str | None = None
    tenant: str = ""
    failed_providers: tuple[str, ...] = ()
    """Through whom earlier codes of the challenge were sent, which the person does without."""
    callback_url: str | None = None
    """Where receipts of this submission are to be brought, with a token in it; None for nowhere."""

    def for_submission(self, ordinal: int) -> "Message":
        """Return the message as the submission in this place carries it."""
        return msgspec.structs.replace(self, reference=f"{self.reference}.{ordinal}")

    def __repr__(self) -> str:
        return f"Message({self.to.masked}, {self.reference})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # The one that msgspec gives each struct would show the text to pretty tracebacks.
        return [("to", self.to), ("reference", self.reference)]


class Accepted(msgspec.Struct, frozen=True):
    """The provider took the message; `message_id` is its own name for it."""

    message_id: str | None = None


class RefusalScope(StrEnum):
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
    scope: RefusalScope = RefusalScope.MESSAGE


Reply = Accepted | Refused


DeliveryStatus = Literal[
    "submitted",
    "delivered",
    "pending",
    "temporary-failure",
    "permanent-failure",
    "technical-failure",
]


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
    send: int = 1
    """Which send of its challenge it belongs to, counted from 1."""
    ordinal: int = 1
    """Which submission of that send it was, counted from 1."""
    scope: RefusalScope | None = None
    """What a refusal spoke of."""
    receipt_status: DeliveryStatus | None = None
    """What its receipts have said so far."""

    @classmethod
    def from_reply(cls, provider: str, reply: Reply, *, at: int, milliseconds: int) -> "Submission":
        """Return the submission that a provider answered with this reply."""
        if isinstance(reply, Accepted):
            return cls(provider, "accepted", None, None, at, milliseconds, reply.message_id)
        outcome: Literal["refused", "unknown"] = (
            "unknown" if reply.fault is Fault.UNKNOWN else "refused"
        )
        return cls(
            provider, outcome, reply.fault, reply.reason, at, milliseconds, scope=reply.scope
        )

    @property
    def may_be_billed(self) -> bool:
        """Whether the provider may have sent it, and will want money for it."""
        return self.outcome != "refused"

    @property
    def status(self) -> DeliveryStatus:
        """What is known of it: its receipts first, then what the provider answered."""
        if self.receipt_status:
            return self.receipt_status
        if self.outcome == "accepted":
            return "submitted"
        if self.outcome == "unknown":
            return "pending"
        return "permanent-failure" if self.fault is Fault.RECIPIENT else "technical-failure"

    def can_apply_receipt(self, receipt: "Receipt") -> bool:
        """Whether this is news: what was delivered stays so, and what has failed is not pending.

        Receipts come twice and out of order. A late "delivered" is believed, for it is the truth
        whatever was said before.
        """
        return RECEIPT_RANK[receipt.status] > RECEIPT_RANK[self.receipt_status or "submitted"]


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


RECEIPT_RANK: dict[DeliveryStatus, int] = {
    "submitted": 0,
    "pending": 1,
    "temporary-failure": 2,
    "technical-failure": 3,
    "permanent-failure": 3,
    "delivered": 4,
}

STATUS_PRECEDENCE: tuple[DeliveryStatus, ...] = (
    "delivered",
    "submitted",
    "pending",
    "temporary-failure",
    "permanent-failure",
    "technical-failure",
)


class SubmissionReference(NamedTuple):
    """Our name for one submission, which comes back in its receipts: no secret, and no number."""

    tenant: str
    challenge_id: str
    send: int
    ordinal: int

    def __str__(self) -> str:
        return f"{self.tenant}.{self.challenge_id}.{self.send}.{self.ordinal}"

    @classmethod
    def parse(cls, text: str) -> "SubmissionReference | None":
        """Return the reference, or None for what is none of ours."""
        match = _REFERENCE_PATTERN.fullmatch(text)
        return cls(match[1], match[2], int(match[3]), int(match[4])) if match else None


_REFERENCE_PATTERN = re.compile(
    r"([a-z0-9-]{1,32})\.(c[0-9]{2}-[0-9a-f]{32})\.([1-9][0-9]?)\.([1-9][0-9]?)"
)


def compute_delivery_status(submissions: Sequence[Submission]) -> DeliveryStatus:
    """Return what the submissions of a challenge say of its delivery: the best of them."""
    known = {submission.status for submission in submissions} or {"pending"}
    return next(one for one in STATUS_PRECEDENCE if one in known)


def find_recipient_fault_reason(submissions: Sequence[Submission]) -> str | None:
    """Return the reason if a provider put the refusal on the number itself."""
    for submission in submissions:
        if submission.fault is Fault.RECIPIENT:
            return submission.reason
    return None


def count_billable(submissions: Sequence[Submission]) -> int:
    """Return how many messages of these submissions may have to be paid for."""
    return sum(submission.may_be_billed for submission in submissions)
