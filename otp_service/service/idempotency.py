"""Idempotency-Key: a call that is repeated under the same key is run once.

The key is claimed before anything is charged, in a partition of its own. Its record holds a keyed
fingerprint of the request and the id of the challenge. A refusal frees the key; StoreUnavailable
does not. Until the lease of the first call ends, a repeat raises IdempotencyKeyInUse; after that
it returns the result of the first call, or runs if there is none.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from msgspec.structs import replace

from otp_service.core.codes import constant_time_equal
from otp_service.core.errors import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    OtpError,
    StoreUnavailable,
)
from otp_service.core.keys import join_length_prefixed
from otp_service.core.ports import ChallengeSnapshot, IdempotencyRecord
from otp_service.core.timestamps import SECOND_MS
from otp_service.service.context import Dependencies


LEASE_MARGIN_MS = 5 * SECOND_MS


class IdempotentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may carry an Idempotency-Key."""

    tenant: str
    key: str | None
    operation: str
    fields: tuple[str | None, ...]
    """What a repeat has to have in common with the first request."""
    challenge_id: str
    """The challenge that the request is about or, with `creates_challenge`, will create."""
    creates_challenge: bool
    """Whether a challenge with this id is a result of the request."""


class KeyClaim(msgspec.Struct, frozen=True):
    """The right to run a request, or the result of the first call."""

    challenge_id: str
    """The id that the first call chose."""
    previous_result: ChallengeSnapshot | None = None


class IdempotencyKeys:
    """Claims Idempotency-Keys in the store."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._store = dependencies.store
        self._random = dependencies.random
        self._mac_key = dependencies.keys.limit.current
        self._lease_ms = dependencies.issue_timeout_ms + LEASE_MARGIN_MS

    @asynccontextmanager
    async def claim(self, request: IdempotentRequest) -> AsyncIterator[KeyClaim]:
        """Claim the key while the body of the `async with` statement runs the request.

        Raises IdempotencyKeyInUse and IdempotencyKeyReused. Without a key nothing is stored.
        """
        if request.key is None:
            yield KeyClaim(request.challenge_id)
            return
        fingerprint = self._compute_fingerprint(request)
        now, known = await self._store.get_idempotency_record(request.tenant, request.key)
        if known:
            previous = await self._find_previous_result(request, known, fingerprint, now)
            if previous:
                yield KeyClaim(known.challenge_id, previous)
                return
        claimed = IdempotencyRecord(
            version=known.version + 1 if known else 1,
            fingerprint=fingerprint,
            challenge_id=known.challenge_id if known else request.challenge_id,
            lease_until=now + self._lease_ms,
        )
        if not await self._swap_record(request, known, claimed):
            raise IdempotencyKeyInUse
        try:
            yield KeyClaim(claimed.challenge_id)
        except StoreUnavailable:
            raise  # a message may have been sent: a repeat finds out after the lease
        except OtpError:
            await self._swap_record(request, claimed, None)
            raise
        finished = replace(claimed, version=claimed.version + 1, finished=True)
        await self._swap_record(request, claimed, finished)

    async def _find_previous_result(
        self, request: IdempotentRequest, record: IdempotencyRecord, fingerprint: bytes, now: int
    ) -> ChallengeSnapshot | None:
        """Return the result of the first call; None if it ended without one."""
        if not constant_time_equal(record.fingerprint, fingerprint):
            raise IdempotencyKeyReused
        if record.finished or request.creates_challenge:
            snapshot = await self._store.fetch_challenge(request.tenant, record.challenge_id)
            if snapshot.challenge:
                return snapshot
        if now < record.lease_until:
            raise IdempotencyKeyInUse
        return None

    def _compute_fingerprint(self, request: IdempotentRequest) -> bytes:
        fields = (b"\0" if field is None else field.encode() for field in request.fields)
        return self._mac_key.compute_mac(
            "fingerprint", request.operation.encode(), join_length_prefixed(*fields)
        )

    async def _swap_record(
        self,
        request: IdempotentRequest,
        old: IdempotencyRecord | None,
        new: IdempotencyRecord | None,
    ) -> bool:
        assert request.key is not None
        operation = self._random.generate_operation_id()
        return await self._store.swap_idempotency_record(
            request.tenant, request.key, old, new, operation
        )
