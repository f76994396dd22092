"""Idempotency-Key: a call that is repeated under the same key is run once.

The key is claimed before anything is charged, in a partition of its own. Its record holds a keyed
fingerprint of the request and the id of the challenge. A refusal frees the key; StoreUnavailable
does not. Until the lease of the first call ends, a repeat raises IdempotencyKeyInUse; after that
it returns the result of the first call, or runs if it has no result.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from msgspec.structs import replace

from otp_service.core import errors
from otp_service.core.codes import constant_time_equal
from otp_service.core.keys import join_length_prefixed
from otp_service.core.ports import ChallengeSnapshot, IdempotencyRecord
from otp_service.core.timestamps import SECOND_MS
from otp_service.service.context import Dependencies


LEASE_MARGIN_MS = 5 * SECOND_MS
Operation = Literal["issue", "resend"]
RequestFields = tuple[str | None, ...]


class KeyClaim(msgspec.Struct, frozen=True):
    """The right to run a request for this challenge, or the result of the first call."""

    challenge_id: str
    previous_result: ChallengeSnapshot | None = None


class IdempotencyKeys:
    def __init__(self, dependencies: Dependencies, tenant: str) -> None:
        self._store = dependencies.store
        self._random = dependencies.random
        self._mac_key = dependencies.keys.limit.current
        self._lease_ms = dependencies.issue_timeout_ms + LEASE_MARGIN_MS
        self._tenant = tenant

    @asynccontextmanager
    async def claim(
        self, key: str | None, operation: Operation, fields: RequestFields, challenge_id: str
    ) -> AsyncIterator[KeyClaim]:
        """Claim the key while the body of the `async with` statement runs the request.

        A repeat has the same fields; its claim names the challenge of the first call. Raises
        IdempotencyKeyInUse and IdempotencyKeyReused. Without a key nothing is stored.
        """
        if key is None:
            yield KeyClaim(challenge_id)
            return
        fingerprint = self._compute_fingerprint(operation, fields)
        now, known = await self._store.get_idempotency_record(self._tenant, key)
        if known:
            previous = await self._find_previous_result(operation, known, fingerprint, now)
            if previous:
                yield KeyClaim(known.challenge_id, previous)
                return
        claimed = IdempotencyRecord(
            version=known.version + 1 if known else 1,
            fingerprint=fingerprint,
            challenge_id=known.challenge_id if known else challenge_id,
            lease_until=now + self._lease_ms,
        )
        if not await self._swap_record(key, known, claimed):
            raise errors.IdempotencyKeyInUse
        try:
            yield KeyClaim(claimed.challenge_id)
        except errors.StoreUnavailable:
            raise  # a message may have been sent: a repeat finds out after the lease
        except errors.OtpError:
            await self._swap_record(key, claimed, None)
            raise
        finished = replace(claimed, version=claimed.version + 1, finished=True)
        await self._swap_record(key, claimed, finished)

    async def _find_previous_result(
        self, operation: Operation, record: IdempotencyRecord, fingerprint: bytes, now: int
    ) -> ChallengeSnapshot | None:
        """Return the result of the first call; None if it ended without one."""
        if not constant_time_equal(record.fingerprint, fingerprint):
            raise errors.IdempotencyKeyReused
        if record.finished or operation == "issue":  # an issue is done if its challenge is stored
            snapshot = await self._store.fetch_challenge(self._tenant, record.challenge_id)
            if snapshot.challenge:
                return snapshot
        if now < record.lease_until <= now + self._lease_ms:  # else the clock was ahead
            raise errors.IdempotencyKeyInUse
        return None

    def _compute_fingerprint(self, operation: Operation, fields: RequestFields) -> bytes:
        encoded = (b"\0" if field is None else field.encode() for field in fields)
        joined = join_length_prefixed(*encoded)
        return self._mac_key.compute_mac("fingerprint", operation.encode(), joined)

    async def _swap_record(
        self, key: str, old: IdempotencyRecord | None, new: IdempotencyRecord | None
    ) -> bool:
        operation_id = self._random.generate_operation_id()
        return await self._store.swap_idempotency_record(self._tenant, key, old, new, operation_id)
