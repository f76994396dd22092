"""A challenge and its transitions: every rule about codes, as pure functions.

    issue ──► pending ─attempt─► pending (one attempt fewer) ──► locked, when none is left
                 │ └──resend──► pending (another code, one send fewer)
                 ├──verified──► verified      once, by one caller
                 ├──canceled──► canceled
                 └──deadline──► expired

A transition returns a new challenge or raises; the service commits it by compare-and-swap. An
ended challenge keeps its status for an hour. Code hashes, salt and number must not be stored beyond
the deadline, so they are a record of their own, `ChallengeSecret`, which Redis expires.

A delivery sends the code of another product, which also checks it. It is stored in the same form,
under an id of its own kind and without a secret, attempts and sends: only its submissions and their
receipts change.
"""

import re
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from otp_service.core import codes, errors
from otp_service.core.delivery import Receipt, Submission
from otp_service.core.keys import Key
from otp_service.core.known_addresses import KnownAddresses
from otp_service.core.policy import ENDED_RETENTION_MS, RESEND_MARGIN_MS
from otp_service.core.pumping.commits import SendDebt
from otp_service.core.timestamps import CLOCK_TOLERANCE_MS


PARTITION_COUNT = 64
_ID_AFTER_KIND = r"([0-5][0-9]|6[0-3])-[0-9a-f]{32}"
CHALLENGE_ID = re.compile(f"c{_ID_AFTER_KIND}", re.ASCII)
"""Partition and 128 random bits (R6)."""
DELIVERY_ID = re.compile(f"d{_ID_AFTER_KIND}", re.ASCII)
CHALLENGE_OR_DELIVERY_ID = re.compile(f"[cd]{_ID_AFTER_KIND}", re.ASCII)


class ChallengeStatus(StrEnum):
    PENDING = "pending"
    VERIFIED = "verified"
    LOCKED = "locked"
    EXPIRED = "expired"
    CANCELED = "canceled"


ENDED_ERRORS: dict[ChallengeStatus, type[errors.ChallengeEnded]] = {
    ChallengeStatus.VERIFIED: errors.ChallengeAlreadyVerified,
    ChallengeStatus.LOCKED: errors.ChallengeLocked,
    ChallengeStatus.EXPIRED: errors.ChallengeExpired,
    ChallengeStatus.CANCELED: errors.ChallengeCanceled,
}


class LiveCode(msgspec.Struct, frozen=True, array_like=True):
    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    code_hash: bytes
    pepper_id: str
    send: int
    """The number of its send in the challenge, from 1."""
    confirmed_at: int
    """0 once a provider may have taken it; before, the instant from which that is assumed."""


class ChallengeSecret(msgspec.Struct, frozen=True, array_like=True):
    """What is deleted at the deadline, or earlier when the challenge ends."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    number: str
    salt: bytes
    codes: tuple[LiveCode, ...]
    client_ip: str | None = None
    locale: str | None = None
    known_addresses: KnownAddresses = KnownAddresses()
    """Those of the account at the issue."""
    debts: tuple[SendDebt, ...] = ()
    """What its sends were charged by the brake on SMS pumping."""

    def add_code(self, code: LiveCode) -> "ChallengeSecret":
        return replace(self, codes=(*self.codes, code))

    def add_debt(self, debt: SendDebt | None) -> "ChallengeSecret":
        """Return the secret with what a verification repays of one more send; None for nothing."""
        return self if debt is None else replace(self, debts=(*self.debts, debt))

    def remove_debt(self, debt: SendDebt | None) -> "ChallengeSecret":
        """Return the secret without the debt of one send, which was refunded; None for nothing."""
        if debt not in self.debts:
            return self
        index = self.debts.index(debt)
        return replace(self, debts=(*self.debts[:index], *self.debts[index + 1 :]))

    def select_live_codes(self, now: int, max_live_codes: int) -> tuple[LiveCode, ...]:
        """Return the newest `max_live_codes` confirmed codes, and those that are being sent.

        A code that is being sent replaces no other: if no provider takes it, the person has only
        the earlier one. `confirmed_at` confirms a code by itself if its worker dies.
        """
        confirmed = [code.send for code in self.codes if code.confirmed_at <= now]
        newest = confirmed[-max_live_codes:]  # by their sends, in whatever order replies arrived
        return tuple(c for c in self.codes if c.confirmed_at > now or c.send in newest)

    def confirm_send(
        self, send: int, now: int, max_live_codes: int, *, may_have_been_sent: bool
    ) -> "ChallengeSecret":
        """Return the secret after the providers have replied to this send."""
        kept = (code for code in self.codes if may_have_been_sent or code.send != send)
        confirmed = (replace(c, confirmed_at=0) if c.send == send else c for c in kept)
        secret = replace(self, codes=tuple(confirmed))
        return replace(secret, codes=secret.select_live_codes(now, max_live_codes))


class VerifyReplayKey(msgspec.Struct, frozen=True, array_like=True):
    """The MACs that identify a repeat of the winning call; stored once the code is accepted."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    key_mac: bytes
    code_mac: bytes


class Challenge(msgspec.Struct, frozen=True, array_like=True):
    """One number, one purpose, one deadline. Instants are milliseconds by Redis's clock.

    The deadline of a delivery is the one that its message states. It has no attempts and no sends
    left, so that every transition of a code refuses it, in addition to its id.
    """

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    tenant: str
    id: str
    version: int
    purpose: str
    account: str | None
    masked_number: str
    number_pseudonym: str
    """As it was at issue, for events after the number is deleted."""
    country: str
    created_at: int
    deadline: int
    ends_at: int
    """The instant at which it ended, or will end by itself."""
    resend_at: int
    attempts_left: int
    sends_left: int
    sends: int = 1
    stored_status: ChallengeStatus = ChallengeStatus.PENDING
    verified_at: int | None = None
    replay_key: VerifyReplayKey | None = None
    submissions: tuple[Submission, ...] = ()
    auto_resent: bool = False
    """Whether a receipt has started a send."""
    has_expired: bool = False
    """Whether its expiry was reported to a caller: a clock that is set back does not revive it."""
    verify_service: str | None = None
    """The Verify Service through which it was started; None for a challenge of our own API."""

    def compute_status(self, now: int) -> ChallengeStatus:
        """Return the status. One issued in the future counts as expired.

        The clock was ahead at its issue; by the right clock it would live longer than its lifetime.
        """
        if self.stored_status is not ChallengeStatus.PENDING:
            return self.stored_status
        if self.attempts_left == 0:
            return ChallengeStatus.LOCKED
        is_in_lifetime = self.created_at - CLOCK_TOLERANCE_MS <= now < self.deadline
        if self.has_expired or not is_in_lifetime:
            return ChallengeStatus.EXPIRED
        return ChallengeStatus.PENDING

    def expire(self, now: int) -> "Challenge":
        """Record that it has expired. A caller whose attempt was charged in time may still win."""
        return self._advance_version(has_expired=True, ends_at=min(self.ends_at, now))

    def is_purged(self, now: int) -> bool:
        """Whether it is reported as unknown."""
        return now >= self.ends_at + ENDED_RETENTION_MS

    def check_pending(self, now: int) -> None:
        """Raise the ChallengeEnded of its status if it is not pending."""
        ended = ENDED_ERRORS.get(self.compute_status(now))
        if ended:
            raise ended

    def check_resend(self, now: int) -> None:
        """Raise ChallengeEnded or SendsExhausted if no other code may be sent."""
        self.check_pending(now)
        if self.deadline - now < RESEND_MARGIN_MS:
            text = "Too little time is left to send another code. Issue a new one."
            raise errors.ChallengeExpired(text)
        if self.sends_left < 1:
            raise errors.SendsExhausted

    def can_auto_resend(self, send: int, max_attempts: int, now: int) -> bool:
        """Whether a failed delivery of this send may start another send without a request.

        It may once, if this is the newest send, all its submissions have failed for technical
        reasons, and no attempt was made.
        """
        statuses = {one.status for one in self.submissions if one.send == send}
        try:
            self.check_resend(now)
        except (errors.ChallengeEnded, errors.SendsExhausted):
            return False
        return (
            statuses == {"technical-failure"}
            and send == self.sends
            and max_attempts == self.attempts_left
            and not self.auto_resent
        )

    def compute_code_hash(self, pepper: Key, argon2_hash: bytes, number: str) -> bytes:
        """Return the hash of a code that is bound to this challenge and number."""
        return codes.hash_code(
            pepper,
            argon2_hash,
            tenant=self.tenant,
            challenge=self.id,
            purpose=self.purpose,
            number=number,
            deadline=self.deadline,
        )

    def charge_attempt(self, now: int) -> "Challenge":
        """Charge one attempt, before anything is compared."""
        self.check_pending(now)
        left = self.attempts_left - 1
        return self._advance_version(attempts_left=left, ends_at=self.ends_at if left else now)

    def refund_attempt(self) -> "Challenge":
        """Refund an attempt for which nothing was compared."""
        ends_at = self.deadline if self.stored_status is ChallengeStatus.PENDING else self.ends_at
        return self._advance_version(attempts_left=self.attempts_left + 1, ends_at=ends_at)

    def mark_verified(self, now: int, replay_key: VerifyReplayKey | None) -> "Challenge":
        """Accept the code of an attempt that was charged in time, unless the challenge ended."""
        if self.stored_status is not ChallengeStatus.PENDING:
            raise ENDED_ERRORS[self.stored_status]
        verified = ChallengeStatus.VERIFIED
        return self._advance_version(
            stored_status=verified, verified_at=now, ends_at=now, replay_key=replay_key
        )

    def cancel(self, now: int) -> "Challenge":
        """End a pending challenge; canceling it again changes nothing."""
        if self.stored_status is ChallengeStatus.CANCELED:
            return self
        self.check_pending(now)
        return self._advance_version(stored_status=ChallengeStatus.CANCELED, ends_at=now)

    def add_send(self, now: int, cooldown: int) -> "Challenge":
        self.check_resend(now)
        sends, left = self.sends + 1, self.sends_left - 1
        return self._advance_version(sends=sends, sends_left=left, resend_at=now + cooldown)

    def cancel_unsent(self, now: int) -> "Challenge":
        """End a challenge whose first code was never sent; it then has no sends."""
        left = self.sends_left + self.sends
        return replace(self.cancel(now), sends=0, sends_left=left, resend_at=now)

    def withdraw_delivery(self, now: int) -> "Challenge":
        """End a delivery whose message was never sent; it then has no sends."""
        return self._advance_version(sends=0, ends_at=now)

    def withdraw_send(self, send: int, now: int, *, is_auto_resend: bool) -> "Challenge":
        """Reverse a send whose code was never sent, its cooldown included."""
        return self._advance_version(
            sends=self.sends - (send == self.sends),
            sends_left=self.sends_left + 1,
            resend_at=now,
            auto_resent=self.auto_resent and not is_auto_resend,
        )

    def refund_send(self) -> "Challenge":
        """Refund a send that no provider took; its cooldown stays."""
        return self._advance_version(sends_left=self.sends_left + 1)

    def add_submissions(self, submissions: tuple[Submission, ...]) -> "Challenge":
        return self._advance_version(submissions=self.submissions + submissions)

    def apply_receipt(self, index: int, receipt: Receipt) -> "Challenge":
        """Store the status and the reason that a receipt reports; return `self` if it is not news."""
        submission = self.submissions[index]
        if not submission.can_apply_receipt(receipt):
            return self
        submissions = list(self.submissions)
        submissions[index] = submission.apply_receipt(receipt)
        return self._advance_version(submissions=tuple(submissions))

    def _advance_version(self, **changes: object) -> "Challenge":
        return replace(self, version=self.version + 1, **changes)


def build_challenge_id(partition: int, random_bytes: bytes) -> str:
    """Return the id of a new challenge; `random_bytes` is 16 bytes of a CSPRNG."""
    return f"c{partition:02d}-{random_bytes.hex()}"


def build_delivery_id(partition: int, random_bytes: bytes) -> str:
    """Return the id of a new delivery, as `build_challenge_id` does."""
    return f"d{partition:02d}-{random_bytes.hex()}"


def check_challenge_id(text: str) -> None:
    """Raise ChallengeNotFound for any other text, the id of a delivery included."""
    if not CHALLENGE_ID.fullmatch(text):
        raise errors.ChallengeNotFound


def check_delivery_id(text: str) -> None:
    """Raise DeliveryNotFound for any other text, the id of a challenge included."""
    if not is_delivery_id(text):
        raise errors.DeliveryNotFound


def is_delivery_id(text: str) -> bool:
    return DELIVERY_ID.fullmatch(text) is not None


def parse_partition(text: str) -> int | None:
    """Return the partition that the id of a challenge or delivery names.

    None if the id is invalid, so that it becomes no key.
    """
    match = CHALLENGE_OR_DELIVERY_ID.fullmatch(text)
    return int(match[1]) if match else None
