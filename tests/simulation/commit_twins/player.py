"""One history of calls: what each kind of call is, and what later ones know of earlier ones."""

import os
from collections.abc import Sequence
from random import Random
from typing import Any, Final, NamedTuple

from otp_service.core.challenge import Challenge, ChallengeSecret
from otp_service.core.commit import (
    Commit,
    CommitOutcome,
    Committed,
    CompareAndSwap,
    Conflict,
    OverDebt,
    Undone,
)
from otp_service.core.errors import EventLogFull, StoreTampered, StoreUnavailable
from otp_service.core.events import EpochStarted
from otp_service.core.limits import LimitRefusal
from otp_service.core.timestamps import DAY_MS
from otp_service.store.key_names import KeyNames
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore
from tests.installation import generate_keys
from tests.simulation.commit_twins.parts import PARTITIONS
from tests.simulation.commit_twins.twins import TwinClient
from tests.store.frozen_store import NOW


REFUSALS: Final = (StoreTampered, StoreUnavailable, EventLogFull)
"""What a call may raise here: a full archive, a charge that was refunded, a record that is lost."""


class LogOptions(NamedTuple):
    """How a partition keeps its log."""

    has_archive: bool = False
    max_stream_entries: int = 5000
    retention_ms: int = 7 * DAY_MS


class StoredChallenge(NamedTuple):
    """A challenge as the player knows it, which may not be how it is stored."""

    partition: int
    challenge: Challenge
    secret: ChallengeSecret


class Player:
    """A store whose scripts run on both, and what was done with it."""

    def __init__(self, client: TwinClient, options: LogOptions) -> None:
        keys = generate_keys()
        self.client = client
        self.shift_ms = NOW if client.is_frozen else 0
        self.store = RedisStore(
            client,
            KeyNames(keys.limit.current),
            RecordCipher(keys, os.urandom),
            epoch_event=EpochStarted(id="epoch"),
            clock_shift_ms=lambda: self.shift_ms,
            **options._asdict(),
        )
        self.commits: list[tuple[Commit, int]] = []
        """Each with the time of its call."""
        self.challenges: list[StoredChallenge] = []
        self.outcomes: list[str] = []
        """The first word of the reply to each commit, and the kind of each error."""
        self.last_refused: tuple[Commit, int] | None = None
        """The commit that was refused last, with its wait in milliseconds."""
        self._count = 0

    @property
    def now(self) -> int:
        """The time of the next decision; about, unless the clock is frozen."""
        return (
            self.shift_ms if self.client.is_frozen else self.client.keyspace.clock() + self.shift_ms
        )

    def pass_time(self, span_ms: int) -> None:
        """Let time pass for decisions and for expiries; a negative one is a clock that was set back."""
        self.client.pass_time(span_ms)
        self.shift_ms += span_ms

    def name_next(self) -> str:
        """Return an id that no earlier commit has."""
        self._count += 1
        return f"{self._count:08d}"

    def build_commit(self, random: Random, **fields: Any) -> Commit:
        """Return a commit with these fields, in one of the partitions."""
        partition, operation_id = random.choice(PARTITIONS), self.name_next()
        return Commit(**{"partition": partition, "operation_id": operation_id, **fields})

    async def commit(self, commit: Commit) -> CommitOutcome | None:
        """Run one commit. Return None where the store raises."""
        outcomes = await self.commit_all([commit])
        if not outcomes:
            return None
        assert not isinstance(outcomes[0], Undone)  # that is of a call of several
        return outcomes[0]

    async def commit_all(
        self, commits: Sequence[Commit], *, together: bool = False
    ) -> Sequence[CommitOutcome | Undone]:
        """Run commits in one call. Return nothing where the store raises."""
        run = self.store.commit_together if together else self.store.commit_all
        self.commits += ((commit, self.now) for commit in commits)
        count = len(self.client.replies)
        outcomes: Sequence[CommitOutcome | Undone] = ()
        try:
            outcomes = await run(commits)
        except REFUSALS as error:
            self.outcomes.append(type(error).__name__)
        self.outcomes += (reply[0].decode() for reply in self.client.replies[count:])
        for commit, outcome in zip(commits, outcomes, strict=False):
            self._note_outcome(commit, outcome)
        return outcomes

    def _note_outcome(self, commit: Commit, outcome: CommitOutcome | Undone) -> None:
        if isinstance(outcome, LimitRefusal | OverDebt):
            self.last_refused = commit, outcome.wait_ms
        swap = commit.swap
        if swap is None:
            return
        if isinstance(outcome, Committed):
            secret = swap.secret if isinstance(swap.secret, ChallengeSecret) else None
            known = [one for one in self.challenges if one.challenge.id == swap.new.id]
            secret = secret or (known[0].secret if known else ChallengeSecret("+44", b"", ()))
            self._remember(StoredChallenge(commit.partition, swap.new, secret))
        elif isinstance(outcome, Conflict) and outcome.snapshot.challenge:
            stored, secret = outcome.snapshot.challenge, outcome.snapshot.secret
            if secret:
                self._remember(StoredChallenge(commit.partition, stored, secret))

    def _remember(self, stored: StoredChallenge) -> None:
        others = [one for one in self.challenges if one.challenge.id != stored.challenge.id]
        self.challenges = [*others, stored]

    def pick_challenge(self, random: Random) -> StoredChallenge | None:
        return random.choice(self.challenges) if self.challenges else None

    def pick_commit(self, random: Random) -> tuple[Commit, int] | None:
        """Return an earlier commit with its time, a recent one more often."""
        recent = self.commits[-6:] if random.random() < 0.7 else self.commits
        return random.choice(recent) if recent else None

    def build_swap(self, stored: StoredChallenge, new: Challenge, **fields: Any) -> dict[str, Any]:
        """Return the partition and the swap of a commit that changes a challenge."""
        return {
            "partition": stored.partition,
            "swap": CompareAndSwap(stored.challenge, new, **fields),
        }
