"""Messages, the replies and receipts of providers, and the delivery status that follows."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Literal, NamedTuple

import msgspec

from otp_service.core.phone_number import PhoneNumber


class Fault(StrEnum):
    """The cause of a refused submission, which decides what to do next."""

    RECIPIENT = "recipient"
    """The number: every provider would refuse it, so stop. Fraud blocks count here."""
    PROVIDER = "provider"
    """The provider, the account or the route: nothing was sent, try the next."""
    UNKNOWN = "unknown"
    """It may have been sent: try the next with the same code, and expect a duplicate."""


OPTED_OUT_REASON: Final = "recipient_opted_out"
"""The reason of a refusal or a failure where the vendor reports that the person opted out: one word
for the codes of all vendors. It is the vendor's own block, and changes nothing on our do-not-send list."""


class Message(msgspec.Struct, frozen=True):
    """One send, as every provider gets it. Its text holds a code: never log it."""

    to: PhoneNumber
    text: str
    reference: str
    """Opaque to providers, different for each submission; see `SubmissionReference`."""
    validity_seconds: int
    """Seconds after which delivery is useless."""
    sender: str | None = None
    tenant: str = ""
    failed_providers: tuple[str, ...] = ()
    """The providers of earlier codes of the challenge, which apparently did not arrive."""
    code: str = ""
    """The code, the minutes and the brand of the text, for a vendor that has it as a template."""
    minutes: int = 0
    brand: str = ""
    callback_url: str | None = None
    """The URL for receipts of this submission, with a token; None for no receipts."""

    def for_submission(self, ordinal: int) -> "Message":
        return msgspec.structs.replace(self, reference=f"{self.reference}.{ordinal}")

    def __repr__(self) -> str:
        return f"Message({self.to.masked}, {self.reference})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # msgspec's own __rich_repr__ would show the text in rich tracebacks.
        return [("to", self.to), ("reference", self.reference)]


class Accepted(msgspec.Struct, frozen=True):
    """The provider took the message; `message_id` is the provider's own id."""

    message_id: str | None = None


class RefusalScope(StrEnum):
    """What a refusal is about, and so whether the next message would be refused too."""

    MESSAGE = "message"
    """This message: another one may be accepted."""
    ACCOUNT = "account"
    """Credentials, credit, suspension, a foreign sender id: an operator has to act."""
    THROTTLED = "throttled"
    """Too many requests: the provider asked for a pause."""
    SILENCE = "silence"
    """The provider did not answer or could not be reached."""
    BLOCKED = "blocked"
    """A fraud block or an opt-out, the recipient's fault: another provider would evade it."""


class Refused(msgspec.Struct, frozen=True):
    """The provider did not accept the message, or it is unknown whether it did."""

    fault: Fault
    reason: str
    """A short code for operators, the provider's or ours; never the text or the number."""
    retry_after: int | None = None
    """The pause in seconds that the provider asked for."""
    scope: RefusalScope = RefusalScope.MESSAGE


Reply = Accepted | Refused


ReceiptStatus = Literal[
    "delivered", "pending", "temporary-failure", "permanent-failure", "technical-failure"
]
DeliveryStatus = Literal["submitted", ReceiptStatus]


class Submission(msgspec.Struct, frozen=True, array_like=True):
    """One message that was submitted to one provider, and its result."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    provider: str
    outcome: Literal["accepted", "refused", "unknown"]
    fault: Fault | None
    reason: str | None
    at: int
    """Milliseconds: since the start of the send from the router, since 1970 once stored."""
    milliseconds: int
    message_id: str | None = None
    send: int = 1
    """The number of its send in the challenge, from 1."""
    ordinal: int = 1
    """Its number in the send, from 1."""
    scope: RefusalScope | None = None
    """Set for a refusal."""
    receipt_status: DeliveryStatus | None = None
    """The best status of its receipts."""

    @classmethod
    def from_reply(cls, provider: str, reply: Reply, *, at: int, milliseconds: int) -> "Submission":
        if isinstance(reply, Accepted):
            return cls(provider, "accepted", None, None, at, milliseconds, reply.message_id)
        fault, reason, scope = reply.fault, reply.reason, reply.scope
        outcome: Literal["refused", "unknown"] = "unknown" if fault is Fault.UNKNOWN else "refused"
        return cls(provider, outcome, fault, reason, at, milliseconds, scope=scope)

    @property
    def may_be_billed(self) -> bool:
        """Whether the provider may have sent it, and so may charge for it."""
        return self.outcome != "refused"

    @property
    def status(self) -> DeliveryStatus:
        """The status from its receipts, or else from the provider's reply."""
        if self.receipt_status:
            return self.receipt_status
        if self.outcome == "accepted":
            return "submitted"
        if self.outcome == "unknown":
            return "pending"
        return "permanent-failure" if self.fault is Fault.RECIPIENT else "technical-failure"

    def can_apply_receipt(self, receipt: "Receipt") -> bool:
        """Whether the receipt is news: "delivered" is final, and a failure is not pending again.

        Receipts arrive twice and out of order. A late "delivered" is believed after any other.
        """
        return RECEIPT_RANK[receipt.status] > RECEIPT_RANK[self.receipt_status or "submitted"]

    def apply_receipt(self, receipt: "Receipt") -> "Submission":
        """Return the submission with the status and the reason of a receipt.

        The reason of a failed reply stays if the receipt has none.
        """
        reason = receipt.reason or (None if self.outcome == "accepted" else self.reason)
        return msgspec.structs.replace(self, reason=reason, receipt_status=receipt.status)


class Receipt(msgspec.Struct, frozen=True):
    """A provider's later report about one submission, parsed by its dialect."""

    status: ReceiptStatus
    """permanent-failure: the number is the reason, or a fraud block. technical-failure: failed for
    good, and another provider may succeed."""
    reference: str = ""
    """Our reference, if the vendor returns it; the one in the callback URL has precedence."""
    message_id: str = ""
    """The vendor's own id of the message."""
    reason: str | None = None
    """The vendor's short code of a failure; never its prose."""
    is_signed: bool = False
    """Whether the vendor has signed it, so that no other party can have sent it."""


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
    """Our id of one submission, which its receipts return: no secret, and no number."""

    tenant: str
    challenge_id: str
    """That of a challenge or a delivery."""
    send: int
    ordinal: int

    def __str__(self) -> str:
        return f"{self.tenant}.{self.challenge_id}.{self.send}.{self.ordinal}"

    @classmethod
    def parse(cls, text: str) -> "SubmissionReference | None":
        """Return the reference, or None if the text is not one of ours."""
        match = _REFERENCE_PATTERN.fullmatch(text)
        return cls(match[1], match[2], int(match[3]), int(match[4])) if match else None


_REFERENCE_PATTERN = re.compile(
    r"([a-z0-9-]{1,32})\.([cd][0-9]{2}-[0-9a-f]{32})\.([1-9][0-9]?)\.([1-9][0-9]?)"
)


def compute_delivery_status(submissions: Sequence[Submission]) -> DeliveryStatus:
    """Return the best status of the submissions, by STATUS_PRECEDENCE."""
    statuses = {submission.status for submission in submissions} or {"pending"}
    return next(status for status in STATUS_PRECEDENCE if status in statuses)
