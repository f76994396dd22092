"""A challenge and its moves: every rule about codes, as values.

    issue ──► pending ──claim──► pending (one attempt fewer) ──► locked, when none is left
                 │ └──resend──► pending (another code, one send fewer)
                 ├──verified──► verified      once, by one caller
                 ├──canceled──► canceled
                 └──deadline──► expired

A move returns a new challenge or raises; `service.py` commits it if nobody moved first. An ended
challenge keeps its status for an hour. What must not outlive the deadline (code hashes, salt,
number) is a value of its own, `ChallengeSecret`, so that Redis itself drops it in time.
"""

import re
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from otp_service.core.delivery import Receipt, Submission
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    ChallengeCanceled,
    ChallengeEnded,
    ChallengeExpired,
    ChallengeLocked,
    SendsExhausted,
)
from otp_service.core.policy import ENDED_RETENTION_MS, RESEND_MARGIN_MS


PARTITION_COUNT = 64
CHALLENGE_ID = re.compile(r"c([0-5][0-9]|6[0-3])-[0-9a-f]{32}", re.ASCII)
"""Partition and 128 random bits (R6)."""


class ChallengeStatus(StrEnum):
    """Where a challenge stands."""

    PENDING = "pending"
    VERIFIED = "verified"
    LOCKED = "locked"
    EXPIRED = "expired"
    CANCELED = "canceled"


ENDED_ERRORS: dict[ChallengeStatus, type[ChallengeEnded]] = {
    ChallengeStatus.VERIFIED: ChallengeAlreadyVerified,
    ChallengeStatus.LOCKED: ChallengeLocked,
    ChallengeStatus.EXPIRED: ChallengeExpired,
    ChallengeStatus.CANCELED: ChallengeCanceled,
}


class LiveCode(msgspec.Struct, frozen=True, array_like=True):
    """One code that may be right."""

    code_hash: bytes
    pepper_id: str
    """The id of the key that the hash was made with."""
    send: int
    """Which send carries it, counted from 1."""
    confirmed_at: int
    """0 once a provider may have taken it; until then the instant from which that is assumed."""


class ChallengeSecret(msgspec.Struct, frozen=True, array_like=True):
    """What is gone at the deadline, and at once when the challenge ends."""

    number: str
    salt: bytes
    codes: tuple[LiveCode, ...]
    client_ip: str | None = None
    locale: str | None = None

    def add_code(self, code: LiveCode) -> "ChallengeSecret":
        """Return it with one more code."""
        return replace(self, codes=(*self.codes, code))

    def select_live_codes(self, now: int, max_live_codes: int) -> tuple[LiveCode, ...]:
        """Return the codes that may be right: the newest `most`, and the one being sent.

        A code that is being sent drives nobody out: if no provider takes it, the person has
        only the earlier one. A worker that dies while sending leaves a code that settles by
        itself.
        """
        settled = [code.send for code in self.codes if code.confirmed_at <= now]
        newest = settled[-max_live_codes:]  # by their sends, whichever reply came last
        return tuple(c for c in self.codes if c.confirmed_at > now or c.send in newest)

    def confirm_send(
        self, send: int, *, may_have_been_sent: bool, now: int, max_live_codes: int
    ) -> "ChallengeSecret":
        """Return it once the providers have answered for this send."""
        kept = (code for code in self.codes if may_have_been_sent or code.send != send)
        codes = tuple(replace(c, confirmed_at=0) if c.send == send else c for c in kept)
        answered = replace(self, codes=codes)
        return replace(answered, codes=answered.select_live_codes(now, max_live_codes))


class VerifyReplayKey(msgspec.Struct, frozen=True, array_like=True):
    """What a repeat of the winning call is recognised by; stored only once the code is dead."""

    key_mac: bytes
    code_mac: bytes


class Challenge(msgspec.Struct, frozen=True, array_like=True):
    """One number, one purpose, one deadline. Instants are milliseconds by Redis's clock."""

    tenant: str
    id: str
    version: int
    purpose: str
    account: str | None
    masked_number: str
    number_pseudonym: str
    """The number's pseudonym when it was issued, for the events after the number is gone."""
    country: str
    created_at: int
    deadline: int
    ends_at: int
    """When it ended, or will by itself."""
    resend_at: int
    attempts_left: int
    sends_left: int
    sends: int = 1
    stored_status: ChallengeStatus = ChallengeStatus.PENDING
    verified_at: int | None = None
    replay_key: VerifyReplayKey | None = None
    submissions: tuple[Submission, ...] = ()
    auto_resent: bool = False
    """Whether a receipt has started a send already."""

    def compute_status(self, now: int) -> ChallengeStatus:
        """Return the status at this instant."""
        if self.stored_status is not ChallengeStatus.PENDING:
            return self.stored_status
        if self.attempts_left == 0:
            return ChallengeStatus.LOCKED
        return ChallengeStatus.EXPIRED if now >= self.deadline else ChallengeStatus.PENDING

    def is_purged(self, now: int) -> bool:
        """Whether it is to be treated as if it had never been."""
        return now >= self.ends_at + ENDED_RETENTION_MS

    def check_pending(self, now: int) -> None:
        """Raise the ChallengeEnded of its status unless it is pending."""
        ended = ENDED_ERRORS.get(self.compute_status(now))
        if ended:
            raise ended

    def check_resend(self, now: int) -> None:
        """Raise ChallengeEnded or SendsExhausted unless another code may be sent."""
        self.check_pending(now)
        if self.deadline - now < RESEND_MARGIN_MS:
            raise ChallengeExpired("Too little time is left to send another code. Issue a new one.")
        if self.sends_left < 1:
            raise SendsExhausted

    def can_auto_resend(self, send: int, max_attempts: int, now: int) -> bool:
        """Whether a failed delivery of this send may start another one, by itself.

        Only if it is the newest send, all of it has failed and not for the number's sake, nobody
        has typed anything in (of `attempts` that there were), and it is the first time.
        """
        mine = [one for one in self.submissions if one.send == send]
        try:
            self.check_resend(now)
        except (ChallengeEnded, SendsExhausted):
            return False
        failed = bool(mine) and all(one.status == "technical-failure" for one in mine)
        return (
            failed
            and send == self.sends
            and max_attempts == self.attempts_left
            and not self.auto_resent
        )

    def charge_attempt(self, now: int) -> "Challenge":
        """Pay for one attempt, before anything is compared."""
        self.check_pending(now)
        left = self.attempts_left - 1
        return self._advance_version(attempts_left=left, ends_at=self.ends_at if left else now)

    def refund_attempt(self) -> "Challenge":
        """Take back a claim for which nothing was compared."""
        ends_at = self.deadline if self.stored_status is ChallengeStatus.PENDING else self.ends_at
        return self._advance_version(attempts_left=self.attempts_left + 1, ends_at=ends_at)

    def mark_verified(self, now: int, replay_key: VerifyReplayKey | None) -> "Challenge":
        """Accept the code: for whoever paid a claim in time, unless it was decided meanwhile."""
        if self.stored_status is not ChallengeStatus.PENDING:
            raise ENDED_ERRORS[self.stored_status]
        return self._advance_version(
            stored_status=ChallengeStatus.VERIFIED,
            verified_at=now,
            ends_at=now,
            replay_key=replay_key,
        )

    def cancel(self, now: int) -> "Challenge":
        """End it without an answer; a second time changes nothing."""
        if self.stored_status is ChallengeStatus.CANCELED:
            return self
        self.check_pending(now)
        return self._advance_version(stored_status=ChallengeStatus.CANCELED, ends_at=now)

    def add_send(self, now: int, cooldown: int) -> "Challenge":
        """Count another send."""
        self.check_resend(now)
        return self._advance_version(
            sends_left=self.sends_left - 1, sends=self.sends + 1, resend_at=now + cooldown
        )

    def refund_send(self) -> "Challenge":
        """Take back a send that no provider took; its cooldown stays."""
        return self._advance_version(sends_left=self.sends_left + 1)

    def add_submissions(self, submissions: tuple[Submission, ...]) -> "Challenge":
        """Note what the providers answered."""
        return self._advance_version(submissions=self.submissions + submissions)

    def apply_receipt(self, index: int, receipt: Receipt) -> "Challenge":
        """Note what a receipt says of one of the submissions; the same again changes nothing."""
        submission = self.submissions[index]
        if not submission.can_apply_receipt(receipt):
            return self
        changed = list(self.submissions)
        changed[index] = replace(submission, receipt_status=receipt.status)
        return self._advance_version(submissions=tuple(changed))

    def _advance_version(self, **changes: object) -> "Challenge":
        return replace(self, version=self.version + 1, **changes)


def build_challenge_id(partition: int, random_bytes: bytes) -> str:
    """Return the id of a challenge of this partition; `random` is 16 bytes of a CSPRNG."""
    return f"c{partition:02d}-{random_bytes.hex()}"


def parse_partition(challenge_id: str) -> int | None:
    """Return the partition that an id names, or None if it is no id: it never becomes a key."""
    match = CHALLENGE_ID.fullmatch(challenge_id)
    return int(match[1]) if match else None
