"""Buckets outside of the number's partition: those of the caller, and those that all callers share."""

from collections.abc import Awaitable, Sequence
from itertools import groupby
from typing import TypeVar

import msgspec

from otp_service.core.errors import OtpError, StoreUnavailable
from otp_service.core.limits import Charge, LimitRefusal
from otp_service.core.ports import Commit, Committed, Refund, Store
from otp_service.core.random_source import RandomSource
from otp_service.service.optimistic_commit import commit_once


T = TypeVar("T")


class SharedCharges(msgspec.Struct, frozen=True):
    """What to refund if the call is refused, and the longest refusal among the other charges."""

    refunds: tuple[Refund, ...] = ()
    refusal: LimitRefusal | None = None


class SharedLimits:
    """Charges and refunds buckets that are not in the partition of a number."""

    def __init__(self, store: Store, random: RandomSource) -> None:
        self._store = store
        self._random = random

    async def charge_caller(self, charges: Sequence[Charge]) -> tuple[Refund, ...]:
        """Apply every charge to the caller's own buckets, or none of them.

        They are in one partition, so one commit decides. Raises the error of a refusal.
        """
        if not charges:
            return ()
        partition = self._store.get_bucket_partition(charges[0].bucket)
        operation_id = self._random.generate_operation_id()
        commit = Commit(partition=partition, operation_id=operation_id, charges=tuple(charges))
        await commit_once(self._store, commit)
        return tuple(Refund(charge, operation_id) for charge in charges)

    async def charge_all(self, charges: Sequence[Charge]) -> SharedCharges:
        """Apply each charge that its limit allows, in one round trip."""
        refunds = [Refund(charge, self._random.generate_operation_id()) for charge in charges]
        commits = [
            Commit(
                partition=self._store.get_bucket_partition(refund.charge.bucket),
                operation_id=refund.operation_id,
                charges=(refund.charge,),
            )
            for refund in refunds
        ]
        outcomes = await self._store.commit_all(commits) if commits else []
        pairs = zip(refunds, outcomes, strict=True)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, LimitRefusal)]
        return SharedCharges(
            tuple(refund for refund, outcome in pairs if isinstance(outcome, Committed)),
            max(refusals, key=lambda refusal: refusal.wait_ms, default=None),
        )

    async def await_or_refund(self, call: Awaitable[T], refunds: Sequence[Refund]) -> T:
        """Return the result of the call. If an OtpError refuses it, refund and raise the error.

        After StoreUnavailable nothing is refunded, because it is unknown what was charged.
        """
        try:
            return await call
        except StoreUnavailable:
            raise
        except OtpError:
            await self.refund(refunds)
            raise

    async def refund(self, refunds: Sequence[Refund]) -> None:
        """Apply each refund, once: its operation id is derived from that of the charge."""
        commits = [
            self._build_refund_commit(operation_id, tuple(group))
            for operation_id, group in groupby(refunds, key=lambda refund: refund.operation_id)
        ]
        if commits:
            await self._store.commit_all(commits)

    def _build_refund_commit(self, operation_id: str, refunds: tuple[Refund, ...]) -> Commit:
        """Return the reversal of one commit."""
        partition = self._store.get_bucket_partition(refunds[0].charge.bucket)
        return Commit(partition=partition, operation_id=f"undo-{operation_id}", refunds=refunds)
