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
from otp_service.core.policy import RESEND_MARGIN, TOMBSTONE


PARTITIONS = 64
ID = re.compile(r"c([0-5][0-9]|6[0-3])-[0-9a-f]{32}", re.ASCII)
"""Partition and 128 random bits (R6)."""


class Status(StrEnum):
    """Where a challenge stands."""

    PENDING = "pending"
    VERIFIED = "verified"
    LOCKED = "locked"
    EXPIRED = "expired"
    CANCELED = "canceled"


ENDED: dict[Status, type[ChallengeEnded]] = {
    Status.VERIFIED: ChallengeAlreadyVerified,
    Status.LOCKED: ChallengeLocked,
    Status.EXPIRED: ChallengeExpired,
    Status.CANCELED: ChallengeCanceled,
}


class LiveCode(msgspec.Struct, frozen=True, array_like=True):
    """One code that may be right."""

    hash: bytes
    pepper: str
    """The id of the key that the hash was made with."""
    send: int
    """Which send carries it, counted from 1."""
    settles_at: int
    """0 once a provider may have taken it; until then the instant from which that is assumed."""


class ChallengeSecret(msgspec.Struct, frozen=True, array_like=True):
    """What is gone at the deadline, and at once when the challenge ends."""

    number: str
    salt: bytes
    codes: tuple[LiveCode, ...]
    client_ip: str | None = None
    locale: str | None = None

    def with_code(self, code: LiveCode) -> "ChallengeSecret":
        """Return it with one more code."""
        return replace(self, codes=(*self.codes, code))

    def live(self, now: int, most: int) -> tuple[LiveCode, ...]:
        """Return the codes that may be right: the newest `most`, and the one being sent.

        A code that is being sent drives nobody out: if no provider takes it, the person has
        only the earlier one. A worker that dies while sending leaves a code that settles by
        itself.
        """
        settled = [code.send for code in self.codes if code.settles_at <= now]
        newest = settled[-most:]  # by their sends, whichever reply came last
        return tuple(c for c in self.codes if c.settles_at > now or c.send in newest)

    def settled(self, send: int, *, taken: bool, now: int, most: int) -> "ChallengeSecret":
        """Return it once the providers have answered for this send."""
        kept = (code for code in self.codes if taken or code.send != send)
        codes = tuple(replace(c, settles_at=0) if c.send == send else c for c in kept)
        answered = replace(self, codes=codes)
        return replace(answered, codes=answered.live(now, most))


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What a repeat of the winning call is recognised by; stored only once the code is dead."""

    key: bytes
    code: bytes


class Challenge(msgspec.Struct, frozen=True, array_like=True):
    """One number, one purpose, one deadline. Instants are milliseconds by Redis's clock."""

    tenant: str
    id: str
    version: int
    purpose: str
    account: str | None
    masked: str
    subject: str
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
    state: Status = Status.PENDING
    verified_at: int | None = None
    answer: Answer | None = None
    submissions: tuple[Submission, ...] = ()
    rescued: bool = False
    """Whether a receipt has started a send already."""

    def status(self, now: int) -> Status:
        """Return the status at this instant."""
        if self.state is not Status.PENDING:
            return self.state
        if self.attempts_left == 0:
            return Status.LOCKED
        return Status.EXPIRED if now >= self.deadline else Status.PENDING

    def is_gone(self, now: int) -> bool:
        """Whether it is to be treated as if it had never been."""
        return now >= self.ends_at + TOMBSTONE

    def check_pending(self, now: int) -> None:
        """Raise the ChallengeEnded of its status unless it is pending."""
        ended = ENDED.get(self.status(now))
        if ended:
            raise ended

    def check_resend(self, now: int) -> None:
        """Raise ChallengeEnded or SendsExhausted unless another code may be sent."""
        self.check_pending(now)
        if self.deadline - now < RESEND_MARGIN:
            raise ChallengeExpired("Too little time is left to send another code. Issue a new one.")
        if self.sends_left < 1:
            raise SendsExhausted

    def can_be_rescued(self, send: int, attempts: int, now: int) -> bool:
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
        return failed and send == self.sends and attempts == self.attempts_left and not self.rescued

    def claim(self, now: int) -> "Challenge":
        """Pay for one attempt, before anything is compared."""
        self.check_pending(now)
        left = self.attempts_left - 1
        return self._moved(attempts_left=left, ends_at=self.ends_at if left else now)

    def unclaim(self) -> "Challenge":
        """Take back a claim for which nothing was compared."""
        ends_at = self.deadline if self.state is Status.PENDING else self.ends_at
        return self._moved(attempts_left=self.attempts_left + 1, ends_at=ends_at)

    def verified(self, now: int, answer: Answer | None) -> "Challenge":
        """Accept the code: for whoever paid a claim in time, unless it was decided meanwhile."""
        if self.state is not Status.PENDING:
            raise ENDED[self.state]
        return self._moved(state=Status.VERIFIED, verified_at=now, ends_at=now, answer=answer)

    def canceled(self, now: int) -> "Challenge":
        """End it without an answer; a second time changes nothing."""
        if self.state is Status.CANCELED:
            return self
        self.check_pending(now)
        return self._moved(state=Status.CANCELED, ends_at=now)

    def resent(self, now: int, cooldown: int) -> "Challenge":
        """Count another send."""
        self.check_resend(now)
        return self._moved(
            sends_left=self.sends_left - 1, sends=self.sends + 1, resend_at=now + cooldown
        )

    def unsent(self) -> "Challenge":
        """Take back a send that no provider took; its cooldown stays."""
        return self._moved(sends_left=self.sends_left + 1)

    def submitted(self, submissions: tuple[Submission, ...]) -> "Challenge":
        """Note what the providers answered."""
        return self._moved(submissions=self.submissions + submissions)

    def received(self, place: int, news: Receipt) -> "Challenge":
        """Note what a receipt says of one of the submissions; the same again changes nothing."""
        submission = self.submissions[place]
        if not submission.takes(news):
            return self
        changed = list(self.submissions)
        changed[place] = replace(submission, received=news.status)
        return self._moved(submissions=tuple(changed))

    def _moved(self, **changes: object) -> "Challenge":
        return replace(self, version=self.version + 1, **changes)


def new_id(partition: int, random: bytes) -> str:
    """Return the id of a challenge of this partition; `random` is 16 bytes of a CSPRNG."""
    return f"c{partition:02d}-{random.hex()}"


def partition_of(challenge_id: str) -> int | None:
    """Return the partition that an id names, or None if it is no id: it never becomes a key."""
    match = ID.fullmatch(challenge_id)
    return int(match[1]) if match else None
