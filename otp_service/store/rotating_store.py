"""The store while two limit keys are in force: what protects people is found under both.

A limit key names buckets and partitions, and nothing in Redis tells whose a name is, so nothing
can be renamed. Instead a number's row of failures is the sum of what stands under either key, and
an entry of the do-not-send list holds under either. All other budgets begin anew. That is one more
round trip for whatever asks for a row, for as long as the rotation takes.
"""

from typing import Any

from msgspec.structs import replace

from otp_service.core.limits import Bucket, Charge, Limit
from otp_service.core.ports import Commit, CommitOutcome, Committed
from otp_service.store.commit_request import KeyWrite, ScriptKeys
from otp_service.store.redis_store import RedisStore


class RotatingStore(RedisStore):
    """Implements `core.ports.Store`, with `earlier` beside the names in force."""

    async def commit(self, commit: Commit) -> CommitOutcome:
        """Run the commit, with what the other key has named taken into it."""
        if commit.unless_blocked is not None:
            await self._copy_blocklist_entry(commit, commit.unless_blocked)
        charges = [await self._add_earlier_failures(commit, charge) for charge in commit.charges]
        outcome = await super().commit(replace(commit, charges=tuple(charges)))
        if isinstance(outcome, Committed) and commit.reset_buckets:
            others = [
                name
                for one in commit.reset_buckets
                for name in self._list_other_bucket_keys(commit, one)
            ]
            await self.delete_keys(others, f"clear-{commit.operation_id}")
        return outcome

    async def _add_earlier_failures(self, commit: Commit, charge: Charge) -> Charge:
        if charge.bucket.limit is not Limit.CONSECUTIVE_FAILURES:
            return charge
        counts = await self._read_each(
            "HGET", self._list_other_bucket_keys(commit, charge.bucket), "count"
        )
        return replace(charge, initial_count=sum(int(count or 0) for count in counts))

    async def _copy_blocklist_entry(self, commit: Commit, number: str) -> None:
        """Put a number on the list where the commit looks, if it is on it anywhere."""
        mine, *others = self.blocklist_keys(number, commit.partition)
        found = [kept for kept in await self._read_each("GET", others) if kept]
        if found:
            operation = f"carry-{commit.operation_id}"
            script_keys = ScriptKeys(self.base_keys(commit.partition, operation))
            entry = KeyWrite(script_keys.add_key(mine), script_keys.add_value(found[0]))
            request = self.build_request(script_keys, writes=[entry])
            await self.run_commit(script_keys, request)

    def _list_other_bucket_keys(self, commit: Commit, bucket: Bucket) -> list[str]:
        """Return what else a bucket of a number may be called."""
        _, *others = self.bucket_keys(bucket, commit.partition)
        return others

    async def _read_each(self, command: str, keys: list[str], *rest: str) -> list[Any]:
        answers = await self.client.read_many([(name, [(command, name, *rest)]) for name in keys])
        return [answer for (answer,) in answers]
