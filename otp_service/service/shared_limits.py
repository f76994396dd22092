"""Buckets that are not a number's own: spent side by side, given back if one of them refuses."""

from collections.abc import Iterable, Sequence

import msgspec

from otp_service.core.limits import Charge, LimitRefusal
from otp_service.core.ports import Blocked, ChallengeSnapshot, Commit, Committed, Refund, Store
from otp_service.service.context import RandomSource


class SpentCharge(msgspec.Struct, frozen=True):
    """What was spent, and by which operation."""

    charge: Charge
    operation_id: str


class SharedLimits:
    """Spends from and gives back to buckets, each in the partition of its own."""

    def __init__(self, store: Store, random: RandomSource) -> None:
        self._store = store
        self._random = random

    async def spend(
        self, charges: Sequence[Charge]
    ) -> tuple[list[SpentCharge], LimitRefusal | None]:
        """Spend from all of them at once; return what was spent, and the worst refusal if any."""
        planned = [SpentCharge(charge, self._random.generate_operation_id()) for charge in charges]
        outcomes = await self._commit_all(
            Commit(
                partition=self._store.get_bucket_partition(one.charge.bucket),
                operation_id=one.operation_id,
                charges=(one.charge,),
            )
            for one in planned
        )
        spent = [
            one for one, what in zip(planned, outcomes, strict=True) if isinstance(what, Committed)
        ]
        refusals = [what for what in outcomes if isinstance(what, LimitRefusal)]
        return spent, max(refusals, key=lambda refusal: refusal.wait_ms, default=None)

    async def refund(self, spent: Sequence[SpentCharge]) -> None:
        """Undo what was spent; each is an operation named after the one that it undoes."""
        await self._commit_all(
            Commit(
                partition=self._store.get_bucket_partition(one.charge.bucket),
                operation_id=f"undo-{one.operation_id}",
                refunds=(Refund(one.charge, one.operation_id),),
            )
            for one in spent
        )

    async def _commit_all(
        self, commits: Iterable[Commit]
    ) -> list[Committed | Blocked | LimitRefusal | ChallengeSnapshot]:
        listed = list(commits)
        return await self._store.commit_all(listed) if listed else []
