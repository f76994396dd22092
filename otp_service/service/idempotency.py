"""Idempotency-Key: a call that is repeated is done once.

The key is claimed before anything is spent, in a partition of its own, and holds a keyed
fingerprint of the request and the id of the challenge; a refusal frees it, but not a store in
doubt. While the first call may be running (its lease), a repeat is told so; after that it sees
what came of it, or runs.
"""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec.structs import replace

from otp_service.core.codes import constant_time_equal
from otp_service.core.errors import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    OtpError,
    StoreUnavailable,
)
from otp_service.core.ports import ChallengeSnapshot, IdempotencyRecord
from otp_service.core.timestamps import SECOND_MS
from otp_service.service.context import Dependencies


LEASE_MARGIN_MS = 5 * SECOND_MS


class IdempotentCall(msgspec.Struct, frozen=True):
    """One request under one Idempotency-Key of one tenant."""

    dependencies: Dependencies
    tenant: str
    idempotency_key: str
    fingerprint: bytes
    challenge_id: str
    """The id of the challenge that the request is about, or is to be given."""

    async def run(
        self, call: Callable[[str], Awaitable[ChallengeSnapshot]], *, creates_challenge: bool
    ) -> ChallengeSnapshot:
        """Run the call, or return what it did when it was run.

        `creates` says that a challenge which is there is what the call did. Raises
        IdempotencyKeyInUse, IdempotencyKeyReused, and whatever refuses the call.
        """
        now, known = await self.dependencies.store.get_idempotency_record(
            self.tenant, self.idempotency_key
        )
        if known:
            done = await self._find_previous_result(known, now, creates_challenge=creates_challenge)
            if done:
                return done
        mine = IdempotencyRecord(
            version=known.version + 1 if known else 1,
            fingerprint=self.fingerprint,
            challenge_id=known.challenge_id if known else self.challenge_id,
            lease_until=now + self.dependencies.issue_timeout_ms + LEASE_MARGIN_MS,
        )
        if not await self._swap_record(known, mine):
            raise IdempotencyKeyInUse
        try:
            stored = await call(mine.challenge_id)
        except StoreUnavailable:
            raise  # a message may have gone out: whoever repeats it finds out after the lease
        except OtpError:
            await self._swap_record(mine, None)
            raise
        await self._swap_record(mine, replace(mine, version=mine.version + 1, finished=True))
        return stored

    async def _find_previous_result(
        self, record: IdempotencyRecord, now: int, *, creates_challenge: bool
    ) -> ChallengeSnapshot | None:
        """Return what the earlier call did; None if it left nothing and is over."""
        if not constant_time_equal(record.fingerprint, self.fingerprint):
            raise IdempotencyKeyReused
        if record.finished or creates_challenge:
            stored = await self.dependencies.store.fetch_challenge(self.tenant, record.challenge_id)
            if stored.challenge:
                return stored
        if now < record.lease_until:
            raise IdempotencyKeyInUse
        return None

    async def _swap_record(
        self, old: IdempotencyRecord | None, new: IdempotencyRecord | None
    ) -> bool:
        operation = self.dependencies.random.generate_operation_id()
        return await self.dependencies.store.swap_idempotency_record(
            self.tenant, self.idempotency_key, old, new, operation
        )
