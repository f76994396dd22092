"""Buckets that are not a number's own: spent side by side, given back if one of them refuses."""

from collections.abc import Iterable, Sequence

import msgspec

from otp_service.core.limits import Charge, Refusal
from otp_service.core.ports import Blocked, Commit, Done, GiveBack, Store, Stored
from otp_service.service.context import Random


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
        outcomes = await self._all(
            Commit(
                partition=self._store.partition_of_bucket(one.charge.bucket),
                operation=one.operation,
                charges=(one.charge,),
            )
            for one in planned
        )
        spent = [one for one, what in zip(planned, outcomes, strict=True) if isinstance(what, Done)]
        refusals = [what for what in outcomes if isinstance(what, Refusal)]
        return spent, max(refusals, key=lambda refusal: refusal.wait, default=None)

    async def give_back(self, spent: Sequence[Spent]) -> None:
        """Undo what was spent; each is an operation named after the one that it undoes."""
        await self._all(
            Commit(
                partition=self._store.partition_of_bucket(one.charge.bucket),
                operation=f"undo-{one.operation}",
                give_backs=(GiveBack(one.charge, one.operation),),
            )
            for one in spent
        )

    async def _all(self, commits: Iterable[Commit]) -> list[Done | Blocked | Refusal | Stored]:
        listed = list(commits)
        return await self._store.commit_all(listed) if listed else []
