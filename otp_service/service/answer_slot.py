"""Idempotency-Key of a call about an authenticator or a recovery set: one call runs, others repeat it.

The commit that charges the account claims the key, so that a repeat which arrives meanwhile is not
charged. The claim has a lease, for a process that ends during its call. A refusal frees the key. The
commit that accepts the code replaces the claim by the answer.

The record has a keyed fingerprint of the request. That of a claim leaves out the code, which may
still be alive. That of an answer has it: the code was accepted, so it is dead.
"""

from collections.abc import Sequence

import msgspec

from otp_service.core import errors
from otp_service.core.codes import constant_time_equal
from otp_service.core.commit import RecordName, RecordSwap, StoredRecord
from otp_service.core.keys import join_length_prefixed
from otp_service.service.context import CallContext, Dependencies


PAST_INSTANT = 1
"""The end of a record that a swap deletes."""


class KeyRecord(msgspec.Struct, frozen=True, array_like=True):
    """The request that a key was used for, and its answer, None while the call runs."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    fingerprint: bytes
    answer: bytes | None


class RequestPrints(msgspec.Struct, frozen=True):
    """The keyed fingerprints of a request."""

    without_code: bytes
    with_code: bytes

    def get_expected(self, stored: KeyRecord) -> bytes:
        """Return what the record of the same request has."""
        return self.without_code if stored.answer is None else self.with_code


class AnswerSlot:
    """Where a call and its answer are stored. Without a key nothing is stored or found."""

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
        self._lease_ms = dependencies.lease_ms
        self._partition = self._store.get_account_partition(tenant, context.account)
        self._has_key = idempotency_key is not None
        self._ttl_ms = ttl_ms
        # No key is empty, so the name without a key is that of no record.
        self.name = RecordName("answer", tenant, f"{operation}:{idempotency_key or ''}")

    async def read(self) -> tuple[int, StoredRecord | None]:
        """Return the time by Redis's clock, and the record of an earlier call with this key."""
        return await self._store.get_record(self._partition, self.name)

    def compute_prints(self, fields: Sequence[str], code: str) -> RequestPrints:
        """Return the fingerprints of what a repeat has in common with its call."""
        return RequestPrints(
            without_code=self._compute_print("claim", fields),
            with_code=self._compute_print("answer", (*fields, code)),
        )

    def has_answer(self, record: StoredRecord | None, now: int) -> bool:
        """Whether the key has an answer, to this request or to another one."""
        stored = self._open(record, now)
        return stored is not None and stored.answer is not None

    def find_answer(
        self, record: StoredRecord | None, prints: RequestPrints, now: int
    ) -> bytes | None:
        """Return the answer to the same request, None without one that has not expired."""
        stored = self._open(record, now)
        return stored.answer if stored and _is_same(stored, prints) else None

    def check_request(self, record: StoredRecord | None, prints: RequestPrints, now: int) -> None:
        """Raise IdempotencyKeyReused if the key is that of another request."""
        stored = self._open(record, now)
        if stored and not _is_same(stored, prints):
            raise errors.IdempotencyKeyReused

    def check_free(self, record: StoredRecord | None, prints: RequestPrints, now: int) -> None:
        """Raise IdempotencyKeyReused, or IdempotencyKeyInUse if the first call still runs."""
        self.check_request(record, prints, now)
        stored = self._open(record, now)
        if stored and stored.answer is None:
            raise errors.IdempotencyKeyInUse

    def build_claim(
        self, old: StoredRecord | None, prints: RequestPrints, now: int
    ) -> tuple[RecordSwap, ...]:
        """Return the swap that claims the key; none without a key."""
        return self._build_swaps(old, KeyRecord(prints.without_code, None), now + self._lease_ms)

    def build_answer(
        self, old: StoredRecord | None, prints: RequestPrints, answer: bytes, now: int
    ) -> tuple[RecordSwap, ...]:
        """Return the swap that stores the answer; none without a key."""
        return self._build_swaps(old, KeyRecord(prints.with_code, answer), now + self._ttl_ms)

    def _build_swaps(
        self, old: StoredRecord | None, new: KeyRecord, expires_at: int
    ) -> tuple[RecordSwap, ...]:
        if not self._has_key:
            return ()
        version = old.version if old else 0
        return (RecordSwap(self.name, version, msgspec.msgpack.encode(new), expires_at),)

    def _compute_print(self, kind: str, fields: Sequence[str]) -> bytes:
        joined = join_length_prefixed(*(field.encode() for field in fields))
        return self._mac_key.compute_mac(kind, self.name.id.encode(), joined)

    def _open(self, record: StoredRecord | None, now: int) -> KeyRecord | None:
        """Return the record while it counts. A lease of a clock that was ahead is over."""
        if record is None or now >= record.expires_at:
            return None
        stored = msgspec.msgpack.decode(record.body, type=KeyRecord)
        is_over = stored.answer is None and record.expires_at > now + self._lease_ms
        return None if is_over else stored


def build_release(claims: Sequence[RecordSwap]) -> tuple[RecordSwap, ...]:
    """Return the swaps that free the key of these claims, if they are still stored."""
    return tuple(
        RecordSwap(claim.name, claim.old_version + 1, b"", PAST_INSTANT) for claim in claims
    )


def _is_same(stored: KeyRecord, prints: RequestPrints) -> bool:
    return constant_time_equal(stored.fingerprint, prints.get_expected(stored))
