"""The store while two limit keys are in force: what protects people is found under both.

A limit key names buckets and partitions, and nothing in Redis shows which subject a name means, so
nothing can be renamed. Instead the consecutive failures of a subject are the sum under either key,
and an entry of the do-not-send list counts under either. All other budgets start empty. During the
rotation, each commit with consecutive failures takes one round trip more.
"""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from otp_service.core.commit import Commit, CommitOutcome, Committed
from otp_service.core.limits import CONSECUTIVE_LIMITS, Bucket, Charge
from otp_service.store.redis_store import RedisStore


class RotatingStore(RedisStore):
    """Implements `core.ports.Store` with the earlier key names and those in force."""

    async def commit(self, commit: Commit) -> CommitOutcome:
        """Run a commit, with what is stored under the other key."""
        if commit.unless_blocked is not None:
            await self._copy_blocklist_entry(commit, commit.unless_blocked)
        charges = [await self._add_earlier_failures(commit, charge) for charge in commit.charges]
        outcome = await super().commit(replace(commit, charges=tuple(charges)))
        if isinstance(outcome, Committed) and commit.reset_buckets:
            others = self._list_other_bucket_keys(commit, *commit.reset_buckets)
            await self.delete_keys(others, f"clear-{commit.operation_id}", durable=commit.durable)
        return outcome

    async def commit_in_turn(self, commits: Sequence[Commit]) -> list[CommitOutcome]:
        return await self.commit_one_by_one(commits)

    async def commit_all(self, commits: Sequence[Commit]) -> list[CommitOutcome]:
        return await asyncio.gather(*map(self.commit, commits))

    async def _add_earlier_failures(self, commit: Commit, charge: Charge) -> Charge:
        if charge.bucket.limit not in CONSECUTIVE_LIMITS:
            return charge
        keys = self._list_other_bucket_keys(commit, charge.bucket)
        counts = await self.client.read_each(keys, "HGET", "count")
        return replace(charge, initial_count=sum(int(count or 0) for count in counts))

    async def _copy_blocklist_entry(self, commit: Commit, number: str) -> None:
        """Copy an entry of the do-not-send list to where the commit looks for it."""
        key, *others = self.blocklist_keys(number, commit.partition)
        entries = [entry for entry in await self.client.read_each(others, "GET") if entry]
        if entries:
            draft = self.start_commit(commit.partition, f"carry-{commit.operation_id}")
            draft.write(key, entries[0])
            await self.run_commit(draft)

    def _list_other_bucket_keys(self, commit: Commit, *buckets: Bucket) -> list[str]:
        return [key for b in buckets for key in self.bucket_keys(b, commit.partition)[1:]]
