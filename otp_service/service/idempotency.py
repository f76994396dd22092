"""Idempotency-Key: a call that is repeated is done once.

The key is claimed before anything is spent, in a partition of its own, and holds a keyed
fingerprint of the request and the id of the challenge; a refusal frees it, but not a store in
doubt. While the first call may be running (its lease), a repeat is told so; after that it sees
what came of it, or runs.
"""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec.structs import replace

from otp_service.core.codes import same
from otp_service.core.errors import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    OtpError,
    StoreUnavailable,
)
from otp_service.core.policy import SECOND
from otp_service.core.ports import Replayed, Stored
from otp_service.service.context import Parts


LEASE_MARGIN = 5 * SECOND


class Once(msgspec.Struct, frozen=True):
    """One request under one Idempotency-Key of one tenant."""

    parts: Parts
    tenant: str
    key: str
    fingerprint: bytes
    challenge: str
    """The id of the challenge that the request is about, or is to be given."""

    async def run(self, call: Callable[[str], Awaitable[Stored]], *, creates: bool) -> Stored:
        """Run the call, or return what it did when it was run.

        `creates` says that a challenge which is there is what the call did. Raises
        IdempotencyKeyInUse, IdempotencyKeyReused, and whatever refuses the call.
        """
        now, known = await self.parts.store.recall(self.tenant, self.key)
        if known:
            done = await self._done(known, now, creates=creates)
            if done:
                return done
        mine = Replayed(
            version=known.version + 1 if known else 1,
            fingerprint=self.fingerprint,
            challenge=known.challenge if known else self.challenge,
            lease=now + self.parts.patience + LEASE_MARGIN,
        )
        if not await self._remember(known, mine):
            raise IdempotencyKeyInUse
        try:
            stored = await call(mine.challenge)
        except StoreUnavailable:
            raise  # a message may have gone out: whoever repeats it finds out after the lease
        except OtpError:
            await self._remember(mine, None)
            raise
        await self._remember(mine, replace(mine, version=mine.version + 1, finished=True))
        return stored

    async def _done(self, known: Replayed, now: int, *, creates: bool) -> Stored | None:
        """Return what the earlier call did; None if it left nothing and is over."""
        if not same(known.fingerprint, self.fingerprint):
            raise IdempotencyKeyReused
        if known.finished or creates:
            stored = await self.parts.store.fetch(self.tenant, known.challenge)
            if stored.challenge:
                return stored
        if now < known.lease:
            raise IdempotencyKeyInUse
        return None

    async def _remember(self, old: Replayed | None, new: Replayed | None) -> bool:
        operation = self.parts.random.operation()
        return await self.parts.store.remember(self.tenant, self.key, old, new, operation)
