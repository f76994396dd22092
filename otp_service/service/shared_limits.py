"""Buckets outside of the number's partition: charged all at once, refunded if one of them refuses."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import msgspec

from otp_service.core.errors import OtpError, StoreUnavailable
from otp_service.core.limits import Charge, LimitRefusal
from otp_service.core.ports import Commit, Committed, Refund, Store
from otp_service.core.random_source import RandomSource


T = TypeVar("T")


class SharedCharges(msgspec.Struct, frozen=True):
    """What to refund if the call is refused, and the longest refusal among the other charges."""

    refunds: tuple[Refund, ...] = ()
    refusal: LimitRefusal | None = None


class SharedLimits:
    """Charges and refunds buckets that each have a partition of their own."""

    def __init__(self, store: Store, random: RandomSource) -> None:
        self._store = store
        self._random = random

    async def charge_all(self, charges: Sequence[Charge]) -> SharedCharges:
        """Apply each charge that its limit allows, in one round trip."""
        refunds = [Refund(charge, self._random.generate_operation_id()) for charge in charges]
        commits = [
            self._build_commit(refund.charge, refund.operation_id, charges=(refund.charge,))
            for refund in refunds
        ]
        outcomes = await self._store.commit_all(commits) if commits else []
        pairs = zip(refunds, outcomes, strict=True)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, LimitRefusal)]
        return SharedCharges(
            tuple(refund for refund, outcome in pairs if isinstance(outcome, Committed)),
            max(refusals, key=lambda refusal: refusal.wait_ms, default=None),
        )

    async def charge_alongside(
        self, charges: Sequence[Charge], call: Awaitable[T]
    ) -> tuple[T, SharedCharges]:
        """Await the call, and apply the charges meanwhile.

        An OtpError of the call refunds them and is raised again. After StoreUnavailable nothing is
        refunded, because it is unknown what was charged.
        """
        if not charges:
            return await call, SharedCharges()
        charging = self.charge_all(charges)
        result, charged = await asyncio.gather(call, charging, return_exceptions=True)
        if isinstance(charged, BaseException):
            raise charged
        if isinstance(result, OtpError) and not isinstance(result, StoreUnavailable):
            await self.refund(charged.refunds)
        if isinstance(result, BaseException):
            raise result
        return result, charged

    async def refund(self, refunds: Sequence[Refund]) -> None:
        """Apply each refund, once: its operation id is derived from that of the charge."""
        commits = [
            self._build_commit(refund.charge, f"undo-{refund.operation_id}", refunds=(refund,))
            for refund in refunds
        ]
        if commits:
            await self._store.commit_all(commits)

    def _build_commit(self, charge: Charge, operation_id: str, **changes: Any) -> Commit:
        partition = self._store.get_bucket_partition(charge.bucket)
        return Commit(partition=partition, operation_id=operation_id, **changes)
