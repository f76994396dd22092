"""Records of numbers that have verified, while two limit keys are in force.

The record of a number may be under either key, and in the partition that either has chosen. The one of
the latest verification decides whether a send is exempt, and has the note of it, so that a number has no
more exempt sends during a rotation than before. A verification is written under the key in force alone.
"""

from collections.abc import Sequence
from itertools import groupby

import msgspec

from otp_service.core.commit import Committed
from otp_service.core.pumping import known_number
from otp_service.core.pumping.commits import DebtCommit, DebtRefund, KnownNumberName
from otp_service.core.pumping.known_number import ExemptTime, KnownNumber
from otp_service.core.timestamps import DAY_MS
from otp_service.store.commit_request import DebtCharges, DebtReversal
from otp_service.store.debt_decoder import decode_exempt_time
from otp_service.store.debt_draft import EXEMPT_CAUSE
from otp_service.store.key_names import parse_key_partition
from otp_service.store.redis_store import RedisStore


_decode_values = msgspec.msgpack.Decoder(list[str | int]).decode


class StoredKnownNumber(msgspec.Struct, frozen=True):
    """The record of a number as it is stored."""

    key_id: str
    """Of the limit key that names it."""
    content: KnownNumber


def parse_known_number(value: bytes) -> StoredKnownNumber:
    """Return the record in a value that `lua/debt_records.lua` has written."""
    key_id, verified_at, *unpaid_at = _decode_values(value)
    return StoredKnownNumber(str(key_id), KnownNumber(int(verified_at), tuple(map(int, unpaid_at))))


class KnownNumberSearch:
    """Finds the record of a number under another name. Its methods raise StoreUnavailable."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def note_send(self, debts: DebtCommit, partition: int, operation_id: str) -> DebtCommit:
        """Return the debts of a send, exempt if the latest record is elsewhere and says so.

        The exempt send is then noted there. A repeat under the same operation id notes it once.
        """
        key = await self._find_latest_elsewhere(debts.known_number, partition)
        if key is None:
            return debts
        draft = self._store.start_commit(parse_key_partition(key), _derive_operation(operation_id))
        draft.fields["debts"] = DebtCharges([], draft.add_key(key))
        _, _, _, _, noted, *_ = await self._store.run_commit(draft)
        exempt_time = decode_exempt_time(noted[4])
        return _decide_elsewhere(debts, exempt_time, is_exempt=noted[2] == EXEMPT_CAUSE)

    async def inspect_send(self, debts: DebtCommit, partition: int) -> DebtCommit:
        """Return what `note_send` does, and note nothing."""
        key = await self._find_latest_elsewhere(debts.known_number, partition)
        if key is None:
            return debts
        now, value = await self._store.read_values((key,))
        known = parse_known_number(value).content if value else None
        exempt_time = known_number.find_exempt_time(known, now)
        is_exempt = known_number.is_exempt(known, now)
        return _decide_elsewhere(debts, exempt_time, is_exempt=is_exempt)

    async def refund_send(self, refund: DebtRefund, partition: int, operation_id: str) -> None:
        """Take back the note of a send, if it was exempt by a record that is elsewhere."""
        if refund.debts.known_number is None:
            return
        _, *keys = self._store.known_number_keys(refund.debts.known_number, partition)
        for place, group in groupby(sorted(keys), parse_key_partition):
            draft = self._store.start_commit(place, f"unknown-{operation_id}")
            operation = _derive_operation(refund.operation_id)
            charge = draft.add_key(self._store.key_names.operation_key(place, operation))
            draft.fields["debt_refunds"] = [
                DebtReversal(charge, DebtCharges([], draft.add_key(key))) for key in group
            ]
            await self._store.run_commit(draft)

    async def read_elsewhere(self, name: KnownNumberName, partition: int) -> list[KnownNumber]:
        """Return the records under every name but the one that a commit in `partition` has."""
        _, *keys = self._store.known_number_keys(name, partition)
        values = await self._store.client.read_each(keys, "GET")
        return [parse_known_number(value).content for value in values if value]

    async def _find_latest_elsewhere(
        self, name: KnownNumberName | None, partition: int
    ) -> str | None:
        """Return the key of the latest record, or None if that has the name that a commit gives it."""
        if name is None:
            return None
        own, *others = self._store.known_number_keys(name, partition)
        # The others first: a verification writes its record under the key in force.
        values = await self._store.client.read_each([*others, own], "GET")
        found = {
            key: parse_known_number(value).content.verified_at
            for key, value in zip((*others, own), values, strict=True)
            if value
        }
        latest = max(found, key=lambda key: (found[key], key == own), default=own)
        return None if latest == own else latest


def _decide_elsewhere(
    debts: DebtCommit, exempt_time: ExemptTime | None, *, is_exempt: bool
) -> DebtCommit:
    """Return the debts of a send that another record has decided."""
    return msgspec.structs.replace(
        debts,
        known_number=None,
        is_assumed_known=False,
        is_uncharged=debts.is_uncharged or is_exempt,
        is_exempt=debts.is_exempt or is_exempt,
        exempt_time=exempt_time,
    )


def add_earlier_records(committed: Committed, earlier: Sequence[KnownNumber]) -> Committed:
    """Return the outcome of a settlement with what other records of the number say.

    The range of the number has counted the verification already, at most once more than it should.
    """
    now = committed.now
    unpaid = (instant for record in earlier for instant in record.unpaid_at)
    return msgspec.structs.replace(
        committed,
        raises_allowance=committed.raises_allowance
        and all(known_number.can_count(record, now) for record in earlier),
        pays_exempt_sends=committed.pays_exempt_sends
        or any(instant > now - DAY_MS for instant in unpaid),
    )


def _derive_operation(operation_id: str) -> str:
    return f"known-{operation_id}"
