"""Decodes what the scripts return: the outcome of a commit, and a challenge as it is now."""

from typing import Any

import msgspec

from otp_service.core.challenge import Challenge, ChallengeSecret, parse_partition
from otp_service.core.commit import (
    Blocked,
    ChallengeSnapshot,
    ChargeState,
    Commit,
    CommitOutcome,
    CommitRefusal,
    Committed,
    Conflict,
    Inspection,
    Locked,
    RecordConflict,
    RecordName,
    StoredRecord,
)
from otp_service.core.do_not_send import DoNotSendReason
from otp_service.core.errors import StoreKeyUnknown, StoreTampered
from otp_service.core.known_addresses import KnownAddresses
from otp_service.core.limits import Charge, LimitRefusal
from otp_service.store.account_records import AccountRecords
from otp_service.store.debt_decoder import (
    add_debts,
    decode_admissions,
    decode_debt_states,
    decode_exempt_time,
    decode_over_debt,
)
from otp_service.store.key_names import KeyNames
from otp_service.store.record_cipher import RecordCipher


_decode_challenge = msgspec.msgpack.Decoder(Challenge).decode
_decode_secret = msgspec.msgpack.Decoder(ChallengeSecret).decode
_decode_known_addresses = msgspec.msgpack.Decoder(KnownAddresses).decode


class OutcomeDecoder:
    """Opens the records of replies. Its methods raise StoreTampered for a record with a wrong MAC."""

    def __init__(
        self, key_names: KeyNames, cipher: RecordCipher, account_records: AccountRecords
    ) -> None:
        self._key_names = key_names
        self._cipher = cipher
        self._account_records = account_records

    def decode_outcome(self, reply: list[Any], commit: Commit) -> CommitOutcome:
        """Return the outcome for a reply of lua/commit.lua, whose indexes are from 1."""
        match reply:
            case [b"done", now, consecutive_failures, epoch, debts, *values]:
                count = len(commit.reads)
                records = self._open_records(commit, commit.reads, values[:count])
                known = self._open_known_addresses(commit, values[count:])
                committed = Committed(now, consecutive_failures, epoch, records, known)
                return add_debts(committed, debts, commit) if debts else committed
            case [b"late" | b"conflict", now, *values]:
                return self._decode_conflict(commit, now, values)
            case _:
                return _decode_refusal(reply, commit)

    def _decode_conflict(
        self, commit: Commit, now: int, values: list[bytes | None]
    ) -> Conflict | RecordConflict:
        """Return the conflict with the values as they are now, none if it came too late."""
        if commit.swap is None:
            names = tuple(swap.name for swap in commit.record_swaps)
            return RecordConflict(now, self._open_records(commit, names, values))
        old, new = commit.swap.old, commit.swap.new
        if not values:
            return Conflict(ChallengeSnapshot(now, old, None))
        return Conflict(self.decode_snapshot(now, new.tenant, new.id, values))

    def _open_records(
        self, commit: Commit, names: tuple[RecordName, ...], values: list[bytes | None]
    ) -> tuple[StoredRecord | None, ...]:
        keys = self._account_records.list_keys(commit.partition, names)
        return self._account_records.open_records(keys, values)

    def decode_snapshot(
        self, now: int, tenant: str, challenge_id: str, values: list[bytes | None]
    ) -> ChallengeSnapshot:
        partition = parse_partition(challenge_id)
        assert partition is not None  # or no key would have been read
        record_keys = self._key_names.challenge_keys(partition, tenant, challenge_id)
        record, sealed = values
        if record is None:
            return ChallengeSnapshot(now, None, None)
        try:
            challenge = _decode_challenge(self._cipher.open_record(record_keys[0], record)[1])
            body = None if sealed is None else self._cipher.open_record(record_keys[1], sealed)[1]
            secret = None if body is None else _decode_secret(body)
        except msgspec.DecodeError as error:
            raise StoreTampered(record_keys[0]) from error
        if challenge.is_purged(now):
            return ChallengeSnapshot(now, None, None)
        challenge = msgspec.structs.replace(challenge, tenant=tenant, id=challenge_id)
        return ChallengeSnapshot(now, challenge, secret)

    def _open_known_addresses(self, commit: Commit, values: list[bytes | None]) -> KnownAddresses:
        """Return the addresses of a record; those under a key that was removed are lost.

        `values` is the value of the record, if the commit reads it. Raises StoreTampered.
        """
        sealed = values[0] if values else None
        if sealed is None or commit.known_addresses_of is None:
            return KnownAddresses()
        key = self._key_names.known_addresses_key(commit.partition, commit.known_addresses_of)
        try:
            return _decode_known_addresses(self._cipher.open_record(key, sealed)[1])
        except StoreKeyUnknown:
            return KnownAddresses()
        except msgspec.DecodeError as error:
            raise StoreTampered(key) from error


def decode_inspection(reply: list[Any], commit: Commit) -> Inspection:
    """Return the inspection of a commit for a reply of lua/inspect.lua."""
    now, refusal, charges, debts, is_exempt, exempt_time, admissions = reply
    return Inspection(
        now,
        refusal and _decode_refusal(refusal, commit),
        tuple(map(_decode_charge_state, commit.charges, charges)),
        decode_debt_states(debts, commit),
        bool(is_exempt),
        decode_exempt_time(exempt_time),
        decode_admissions(admissions, now),
    )


def _decode_charge_state(charge: Charge, state: list[Any]) -> ChargeState:
    wait_ms, window_index, *used = state
    return ChargeState(charge, charge.windows[window_index - 1], wait_ms, tuple(used))


def _decode_refusal(reply: list[Any], commit: Commit) -> CommitRefusal:
    match reply:
        case [b"refused", _, charge_index, window_index, wait_ms]:
            charge = commit.charges[charge_index - 1]
            return LimitRefusal(charge.bucket.limit, charge.windows[window_index - 1], wait_ms)
        case [b"locked", _, charge_index]:
            return Locked(commit.charges[charge_index - 1].bucket.limit)
        case [b"over_debt", _, *figures, wait_ms]:
            return decode_over_debt(figures, wait_ms, commit)
        case [b"listed", _, reason]:
            return Blocked(DoNotSendReason(reason.decode()))
        case _:
            raise AssertionError(reply[0])
