"""The store while two limit keys are in force: what protects people is found under both.

A limit key names buckets and partitions, and nothing in Redis tells whose a name is, so nothing
can be renamed. Instead a number's row of failures is the sum of what stands under either key, and
an entry of the do-not-send list holds under either. All other budgets begin anew. That is one more
round trip for whatever asks for a row, for as long as the rotation takes.
"""

from typing import Any

from msgspec.structs import replace

from otp_service.core.limits import Bucket, Charge, Limit
from otp_service.core.ports import Commit, Done
from otp_service.store.commit_request import Places
from otp_service.store.redis_store import Outcome, RedisStore


class RotatingStore(RedisStore):
    """Implements `core.ports.Store`, with `earlier` beside the names in force."""

    async def commit(self, commit: Commit) -> Outcome:
        """Run the commit, with what the other key has named taken into it."""
        if commit.guard is not None:
            await self._carry_entry(commit, commit.guard)
        charges = [await self._summed(commit, charge) for charge in commit.charges]
        outcome = await super().commit(replace(commit, charges=tuple(charges)))
        if isinstance(outcome, Done) and commit.clear:
            others = [name for one in commit.clear for name in self._rows(commit, one)]
            await self.delete(others, f"clear-{commit.operation}")
        return outcome

    async def _summed(self, commit: Commit, charge: Charge) -> Charge:
        if charge.bucket.limit is not Limit.ROW:
            return charge
        counts = await self._ask("HGET", self._rows(commit, charge.bucket), "count")
        return replace(charge, base=sum(int(count or 0) for count in counts))

    async def _carry_entry(self, commit: Commit, number: str) -> None:
        """Put a number on the list where the commit looks, if it is on it anywhere."""
        mine, *others = self.entries(number, commit.partition)
        found = [kept for kept in await self._ask("GET", others) if kept]
        if found:
            places = Places(self.fixed(commit.partition, f"carry-{commit.operation}"))
            entry = places.of(mine), places.value(found[0]), 0
            await self.run(places, self.request(places, writes=[entry]))

    def _rows(self, commit: Commit, bucket: Bucket) -> list[str]:
        """Return what else a bucket of a number may be called."""
        _, *others = self.buckets(bucket, commit.partition)
        return others

    async def _ask(self, command: str, names: list[str], *rest: str) -> list[Any]:
        answers = await self.link.read([(name, [(command, name, *rest)]) for name in names])
        return [answer for (answer,) in answers]
