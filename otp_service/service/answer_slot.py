"""Idempotency-Key of a call about an authenticator or a recovery set: its answer, for a repeat.

The answer is stored by the commit that accepts the code, in the partition of the account, with a
keyed fingerprint of the request. So it is stored exactly if the code was accepted, and a refusal
leaves the key free. A code in a fingerprint is dead: it was accepted.
"""

import msgspec

from otp_service.core import errors
from otp_service.core.codes import constant_time_equal
from otp_service.core.keys import join_length_prefixed
from otp_service.core.ports import RecordName, RecordSwap, StoredRecord
from otp_service.service.context import CallContext, Dependencies


class StoredAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The answer to the request with this fingerprint."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    fingerprint: bytes
    answer: bytes


class AnswerSlot:
    """Where the answer of one call is stored. Without a key nothing is stored or found."""

    def __init__(
        self,
        dependencies: Dependencies,
        context: CallContext,
        operation: str,
        idempotency_key: str | None,
        *,
        ttl_ms: int,
    ) -> None:
        tenant = context.caller.tenant.name
        self._store = dependencies.store
        self._mac_key = dependencies.keys.limit.current
        self._partition = self._store.get_account_partition(tenant, context.account)
        self._has_key = idempotency_key is not None
        self._ttl_ms = ttl_ms
        # No key is empty, so the name without a key is that of no answer.
        self.name = RecordName("answer", tenant, f"{operation}:{idempotency_key or ''}")

    async def read(self) -> tuple[int, StoredRecord | None]:
        """Return the time by Redis's clock, and the record of an earlier call with this key."""
        return await self._store.get_record(self._partition, self.name)

    def compute_fingerprint(self, *fields: str) -> bytes:
        """Return the keyed fingerprint of the fields that a repeat has in common with its call."""
        joined = join_length_prefixed(*(field.encode() for field in fields))
        return self._mac_key.compute_mac("answer", self.name.id.encode(), joined)

    def find_answer(
        self, record: StoredRecord | None, fingerprint: bytes, now: int
    ) -> bytes | None:
        """Return the answer to the same request, None without one that has not expired."""
        if record is None or now >= record.expires_at:
            return None
        stored = msgspec.msgpack.decode(record.body, type=StoredAnswer)
        is_same = constant_time_equal(stored.fingerprint, fingerprint)
        return stored.answer if is_same else None

    def check_free(self, record: StoredRecord | None, now: int) -> None:
        """Raise IdempotencyKeyReused if the key has an answer, which is that of another request."""
        if record is not None and now < record.expires_at:
            raise errors.IdempotencyKeyReused

    def build_swaps(
        self, old: StoredRecord | None, fingerprint: bytes, answer: bytes, now: int
    ) -> tuple[RecordSwap, ...]:
        """Return the swap that stores the answer; none without a key."""
        if not self._has_key:
            return ()
        body = msgspec.msgpack.encode(StoredAnswer(fingerprint, answer))
        version = old.version if old else 0
        return (RecordSwap(self.name, version, body, now + self._ttl_ms),)
