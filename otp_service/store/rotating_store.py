"""The store while two limit keys are in force: what protects people is found under both.

A limit key names buckets and partitions. The consecutive failures of a subject are the sum under
either key, and an entry of the do-not-send list refuses under either; `otp-service limit-key move`
renames both. A known number is exempt under either (known_numbers.py). All other budgets start empty, and so
do debts. During the rotation, each commit with consecutive failures, with a recipient or with a number that
may be known takes one or two round trips more.

An entry is not copied by a send: it would return if it was lifted between the read and the copy.
"""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from otp_service.core.commit import Commit, CommitOutcome, Committed, Inspection, Undone
from otp_service.core.do_not_send import DoNotSendReason, Recipient
from otp_service.core.limits import CONSECUTIVE_LIMITS, Bucket, Charge
from otp_service.core.pumping.commits import DebtRefund
from otp_service.core.pumping.known_number import KnownNumber
from otp_service.store.failure_move import (
    FAILURE_FIELDS,
    count_other_failures,
    parse_failures,
)
from otp_service.store.known_numbers import KnownNumberSearch, add_earlier_records
from otp_service.store.redis_store import RedisStore
from otp_service.store.separate_commits import commit_one_by_one


class RotatingStore(RedisStore):
    """Implements `core.ports.Store` with the earlier key names and those in force."""

    async def commit(self, commit: Commit) -> CommitOutcome:
        """Run a commit, with what is stored under the other key."""
        earlier = await self._read_earlier_records(commit)
        noted = await self._note_exempt_send(commit)
        outcome = await super().commit(await self._add_other_key(noted))
        if isinstance(outcome, Committed):
            await self._apply_under_other_key(commit)
        elif commit.debts and noted != commit:
            undo = DebtRefund(commit.debts, commit.operation_id)
            await self._refund_notes(commit, undo)
        if isinstance(outcome, Committed) and earlier:
            return add_earlier_records(outcome, earlier)
        return outcome

    async def _apply_under_other_key(self, commit: Commit) -> None:
        if commit.reset_buckets:
            others = self._list_other_bucket_keys(commit, *commit.reset_buckets)
            await self.delete_keys(others, f"clear-{commit.operation_id}", durable=commit.durable)
        await self._refund_notes(commit, *commit.debt_refunds)

    async def _refund_notes(self, commit: Commit, *refunds: DebtRefund) -> None:
        """Take back exempt sends that are noted elsewhere."""
        for refund in refunds:
            search = KnownNumberSearch(self)
            await search.refund_send(refund, commit.partition, commit.operation_id)

    async def commit_together(self, commits: Sequence[Commit]) -> list[CommitOutcome | Undone]:
        return await commit_one_by_one(self, commits)

    async def commit_all(self, commits: Sequence[Commit]) -> list[CommitOutcome]:
        return await asyncio.gather(*map(self.commit, commits))

    async def inspect(self, commits: Sequence[Commit]) -> list[Inspection]:
        decided = [await self._add_other_key(await self._find_exemption(one)) for one in commits]
        return await super().inspect(decided)

    async def _read_earlier_records(self, commit: Commit) -> list[KnownNumber]:
        """Return what is stored elsewhere of a number that verifies."""
        if commit.settlement is None or commit.settlement.known_number is None:
            return []
        name = commit.settlement.known_number
        return await KnownNumberSearch(self).read_elsewhere(name, commit.partition)

    async def _note_exempt_send(self, commit: Commit) -> Commit:
        if commit.debts is None:
            return commit
        search = KnownNumberSearch(self)
        debts = await search.note_send(commit.debts, commit.partition, commit.operation_id)
        return replace(commit, debts=debts)

    async def _find_exemption(self, commit: Commit) -> Commit:
        if commit.debts is None:
            return commit
        debts = await KnownNumberSearch(self).inspect_send(commit.debts, commit.partition)
        return replace(commit, debts=debts)

    async def _add_other_key(self, commit: Commit) -> Commit:
        """Return the commit with what is stored of its recipient and its charges under the other key."""
        if commit.recipient:
            refusal = await self._find_refusal_elsewhere(commit.partition, commit.recipient)
            recipient = replace(commit.recipient, earlier_refusal=refusal)
            commit = replace(commit, recipient=recipient)
        charges = [await self._add_earlier_failures(commit, charge) for charge in commit.charges]
        return replace(commit, charges=tuple(charges))

    async def _add_earlier_failures(self, commit: Commit, charge: Charge) -> Charge:
        if charge.bucket.limit not in CONSECUTIVE_LIMITS:
            return charge
        own, *keys = self.bucket_keys(charge.bucket, commit.partition)
        # The others first: failures that are being moved are added here before they are taken there.
        values = await self.client.read_each([*keys, own], "HMGET", *FAILURE_FIELDS)
        *others, charged = map(parse_failures, (*keys, own), values)
        return replace(charge, initial_count=count_other_failures(charged, others))

    async def _find_refusal_elsewhere(
        self, partition: int, recipient: Recipient
    ) -> DoNotSendReason | None:
        """Return the reason of an entry that the commit does not find in its partition.

        An entry under the key in force is in another partition if the challenge has that of the
        earlier key. The earlier key is searched first: `otp-service limit-key move` writes an entry
        under the new name before it deletes the old one.
        """
        for names in reversed(self.all_key_names):
            place = names.compute_number_partition(recipient.number)
            if (names, place) == (self.key_names, partition):
                continue
            keys = names.list_refusing_keys(place, recipient)
            present = await self.client.read_each([key for key, _ in keys], "EXISTS")
            for (_, reason), exists in zip(keys, present, strict=True):
                if exists:
                    return reason
        return None

    def _list_other_bucket_keys(self, commit: Commit, *buckets: Bucket) -> list[str]:
        return [key for b in buckets for key in self.bucket_keys(b, commit.partition)[1:]]
