"""Buckets outside of the number's partition: charged all at once, refunded if one of them refuses."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import msgspec

from otp_service.core.errors import OtpError, StoreUnavailable
from otp_service.core.limits import Charge, LimitRefusal
from otp_service.core.ports import Commit, Committed, Refund, Store
from otp_service.service.context import RandomSource


T = TypeVar("T")


class SpentCharge(msgspec.Struct, frozen=True):
    """A charge that was applied, and the operation that applied it."""

    charge: Charge
    operation_id: str


class SharedSpending(msgspec.Struct, frozen=True):
    """The charges that were applied, and the longest refusal among the others."""

    spent: tuple[SpentCharge, ...] = ()
    refusal: LimitRefusal | None = None


class SharedLimits:
    """Charges and refunds buckets that each have a partition of their own."""

    def __init__(self, store: Store, random: RandomSource) -> None:
        self._store = store
        self._random = random

    async def spend(self, charges: Sequence[Charge]) -> SharedSpending:
        """Apply each charge that its limit allows, in one round trip."""
        planned = [SpentCharge(charge, self._random.generate_operation_id()) for charge in charges]
        commits = [
            Commit(
                partition=self._store.get_bucket_partition(plan.charge.bucket),
                operation_id=plan.operation_id,
                charges=(plan.charge,),
            )
            for plan in planned
        ]
        outcomes = await self._store.commit_all(commits) if commits else []
        refusals = [outcome for outcome in outcomes if isinstance(outcome, LimitRefusal)]
        return SharedSpending(
            tuple(
                plan
                for plan, outcome in zip(planned, outcomes, strict=True)
                if isinstance(outcome, Committed)
            ),
            max(refusals, key=lambda refusal: refusal.wait_ms, default=None),
        )

    async def spend_alongside(
        self, charges: Sequence[Charge], call: Awaitable[T]
    ) -> tuple[T, SharedSpending]:
        """Await the call, and apply the charges meanwhile.

        An OtpError of the call refunds them and is raised again. After StoreUnavailable nothing is
        refunded, because it is unknown what was charged.
        """
        if not charges:
            return await call, SharedSpending()
        result, spending = await asyncio.gather(call, self.spend(charges), return_exceptions=True)
        if isinstance(spending, BaseException):
            raise spending
        if isinstance(result, OtpError) and not isinstance(result, StoreUnavailable):
            await self.refund(spending.spent)
        if isinstance(result, BaseException):
            raise result
        return result, spending

    async def refund(self, spent: Sequence[SpentCharge]) -> None:
        """Undo these charges; the operation is named after the one that it undoes, so it is once."""
        commits = [
            Commit(
                partition=self._store.get_bucket_partition(one.charge.bucket),
                operation_id=f"undo-{one.operation_id}",
                refunds=(Refund(one.charge, one.operation_id),),
            )
            for one in spent
        ]
        if commits:
            await self._store.commit_all(commits)
