"""Idempotency-Key: a call that is repeated under the same key is run once.

The key is claimed before anything is charged, in a partition of its own. Its record holds a keyed
fingerprint of the request and the id of the challenge or delivery, for 24 hours. A refusal frees the key, and so
does a failure of the store before a message may have been sent. Otherwise a repeat returns the
result of the first call. While an issue sends, its repeat waits for that result, so that both get
the same response.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import msgspec
from msgspec.structs import replace

from otp_service.core import errors
from otp_service.core.challenge import Challenge
from otp_service.core.codes import constant_time_equal
from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.keys import join_length_prefixed
from otp_service.core.policy import ENDED_RETENTION_MS
from otp_service.core.ports import IdempotencyRecord
from otp_service.schemas import IssueRequest
from otp_service.service.context import Dependencies
from otp_service.service.send_result import SendResult


POLL_INTERVALS_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between two reads of a challenge whose first call is sending; the last is repeated."""

DELETED_CHALLENGE_DETAIL = (
    "The challenge of this Idempotency-Key has ended. Issue a new one, with a fresh key."
)
DELETED_DELIVERY_DETAIL = (
    "The delivery of this Idempotency-Key has ended. Send a new code, with a fresh key."
)

Operation = Literal["issue", "start", "deliver", "resend"]
RequestFields = tuple[str | None, ...]


def list_issue_fields(request: IssueRequest) -> RequestFields:
    """Return what a repeat of an issue must have in common with the first call.

    Members that only some callers send are left out where they are missing, so that the fingerprint of
    all others is the one that earlier versions have stored.
    """
    fields = (
        request.phone_number,
        request.purpose,
        request.locale,
        request.client_ip,
        request.account,
    )
    if request.known is None and request.bot_check is None:
        return fields
    known = None if request.known is None else str(request.known)
    return (*fields, known, request.bot_check)


class KeyClaim(msgspec.Struct, frozen=True):
    """The right to run a request for this challenge, or the result of the first call."""

    challenge_id: str
    previous_result: ChallengeSnapshot | None = None


class IdempotencyKeys:
    def __init__(self, dependencies: Dependencies, tenant: str) -> None:
        self._store = dependencies.store
        self._random = dependencies.random
        self._refunds = dependencies.refunds
        self._mac_key = dependencies.keys.limit.current
        self._lease_ms = dependencies.lease_ms
        self._tenant = tenant

    @asynccontextmanager
    async def claim(
        self, key: str | None, operation: Operation, fields: RequestFields, challenge_id: str
    ) -> AsyncIterator[KeyClaim]:
        """Claim the key while the body of the `async with` statement runs the request.

        A repeat has the same fields; its claim names the challenge of the first call. Raises
        IdempotencyKeyInUse, IdempotencyKeyReused, ChallengeExpired if the challenge of the first
        call is deleted, and the error of a first call that still runs. Without a key nothing is
        stored.
        """
        if key is None:
            yield KeyClaim(challenge_id)
            return
        fingerprint = self._compute_fingerprint(operation, fields)
        now, known = await self._store.get_idempotency_record(self._tenant, key)
        if known:
            if not constant_time_equal(known.fingerprint, fingerprint):
                raise errors.IdempotencyKeyReused
            previous = await self._find_previous_call(operation, known, now, challenge_id)
            if previous.previous_result:
                yield previous
                return
            challenge_id = previous.challenge_id
        claimed = IdempotencyRecord(
            version=known.version + 1 if known else 1,
            fingerprint=fingerprint,
            challenge_id=challenge_id,
            lease_until=now + self._lease_ms,
        )
        if not await self._swap_record(key, known, claimed):
            raise errors.IdempotencyKeyInUse
        free_key = partial(self._swap_record, key, claimed, None)
        try:
            yield KeyClaim(claimed.challenge_id)
        except (errors.ResultNotStored, errors.StoreTampered):
            raise  # a message may have been sent: a repeat finds out after the lease
        except errors.OtpError:
            await self._refunds.apply(free_key)
            raise
        finished = replace(claimed, version=claimed.version + 1, finished=True)
        await self._refunds.apply(partial(self._swap_record, key, claimed, finished))

    async def _find_previous_call(
        self, operation: Operation, record: IdempotencyRecord, now: int, new_id: str
    ) -> KeyClaim:
        """Return the result of the first call, or the challenge for which the call may run now."""
        first = KeyClaim(record.challenge_id)
        if operation != "resend" or record.finished:
            snapshot = await self._await_result(record)
            now, challenge = snapshot.now, snapshot.challenge
            if challenge and _is_unsent(challenge):
                return KeyClaim(new_id)
            if challenge and not self._has_failed(challenge, record, now):
                return replace(first, previous_result=snapshot)
            if challenge:
                return KeyClaim(new_id)
            claimed_at = record.lease_until - self._lease_ms
            # Later it is unknown whether the challenge was never stored or is deleted.
            if record.finished or now >= claimed_at + ENDED_RETENTION_MS:
                is_delivery = operation == "deliver"
                detail = DELETED_DELIVERY_DETAIL if is_delivery else DELETED_CHALLENGE_DETAIL
                raise errors.ChallengeExpired(detail)
        if self._is_leased(record, now):
            raise errors.IdempotencyKeyInUse
        return first

    async def _await_result(self, record: IdempotencyRecord) -> ChallengeSnapshot:
        """Return the challenge of an issue once the first call has a result, or its lease is over.

        Raises the error of the first call if it still runs.
        """
        polls = 0
        while True:
            snapshot = await self._store.fetch_challenge(self._tenant, record.challenge_id)
            challenge = snapshot.challenge
            if challenge is None or _is_unsent(challenge) or challenge.submissions:
                return snapshot
            if record.finished or not self._is_leased(record, snapshot.now):
                return snapshot
            await asyncio.sleep(POLL_INTERVALS_SECONDS[min(polls, 4)])
            polls += 1

    def _has_failed(self, challenge: Challenge, record: IdempotencyRecord, now: int) -> bool:
        """Whether the first call was refused after its message, and did not free the key.

        Raises its error while it may still run, so that both calls get the same response.
        """
        first_send = tuple(one for one in challenge.submissions if one.send == 1)
        error = SendResult(first_send, 1, is_first_send=True).find_error(challenge.id)
        if record.finished or not first_send or error is None:
            return False
        if self._is_leased(record, now):
            raise error
        return True

    def _is_leased(self, record: IdempotencyRecord, now: int) -> bool:
        """Whether the first call may still run. A lease of a clock that was ahead is over."""
        return now < record.lease_until <= now + self._lease_ms

    def _compute_fingerprint(self, operation: Operation, fields: RequestFields) -> bytes:
        encoded = (b"\0" if field is None else field.encode() for field in fields)
        joined = join_length_prefixed(*encoded)
        return self._mac_key.compute_mac("fingerprint", operation.encode(), joined)

    async def _swap_record(
        self, key: str, old: IdempotencyRecord | None, new: IdempotencyRecord | None
    ) -> bool:
        operation_id = self._random.generate_operation_id()
        return await self._store.swap_idempotency_record(self._tenant, key, old, new, operation_id)


def _is_unsent(challenge: Challenge) -> bool:
    """Whether the store failed before the first code was sent, and the challenge has ended for that."""
    return challenge.sends == 0
