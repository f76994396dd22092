"""Buckets that are not a number's own: spent side by side, given back if one of them refuses."""

import asyncio
from collections.abc import Sequence

import msgspec

from otp_service.core.limits import Charge, Refusal
from otp_service.core.ports import Commit, Done, GiveBack, Store
from otp_service.service.parts import Random


class Spent(msgspec.Struct, frozen=True):
    """What was spent, and by which operation."""

    charge: Charge
    operation: str


class Ledger:
    """Spends from and gives back to buckets, each in the partition of its own."""

    def __init__(self, store: Store, random: Random) -> None:
        self._store = store
        self._random = random

    async def spend(self, charges: Sequence[Charge]) -> tuple[list[Spent], Refusal | None]:
        """Spend from all of them at once; return what was spent, and the worst refusal if any."""
        planned = [Spent(charge, self._random.operation()) for charge in charges]
        outcomes = await asyncio.gather(*(self._spend(spent) for spent in planned))
        spent = [p for p, outcome in zip(planned, outcomes, strict=True) if not outcome]
        refusals = [outcome for outcome in outcomes if outcome]
        return spent, max(refusals, key=lambda refusal: refusal.wait, default=None)

    async def give_back(self, spent: Sequence[Spent]) -> None:
        """Undo what was spent; each is an operation named after the one that it undoes."""
        await asyncio.gather(*(self._give_back(one) for one in spent))

    async def _spend(self, spent: Spent) -> Refusal | None:
        outcome = await self._store.commit(
            Commit(
                partition=self._store.partition_of_bucket(spent.charge.bucket),
                operation=spent.operation,
                charges=(spent.charge,),
            )
        )
        return outcome if isinstance(outcome, Refusal) else None

    async def _give_back(self, spent: Spent) -> None:
        outcome = await self._store.commit(
            Commit(
                partition=self._store.partition_of_bucket(spent.charge.bucket),
                operation=f"undo-{spent.operation}",
                give_backs=(GiveBack(spent.charge, spent.operation),),
            )
        )
        assert isinstance(outcome, Done)  # nothing in it can be refused
