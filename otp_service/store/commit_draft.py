"""Building a request to the commit script from what the core asks for."""

from collections import defaultdict
from typing import Any

import msgspec
from msgspec.structs import replace

from otp_service.core.commit import Commit, CompareAndSwap, PointerSwap, RecordSwap
from otp_service.core.do_not_send import Recipient, SubmissionMark
from otp_service.core.events import GRANT_EVENTS, Event
from otp_service.core.known_addresses import Account, KnownAddresses
from otp_service.core.limits import CONSECUTIVE_LIMITS, Charge
from otp_service.core.policy import ENDED_RETENTION_MS
from otp_service.core.timestamps import SECOND_MS
from otp_service.store.account_records import RecordContent
from otp_service.store.commit_request import (
    AbsentKey,
    BucketOperation,
    DebtReversal,
    ExpectedVersion,
    FoldableEvent,
    KeyWrite,
    SignedEvent,
)
from otp_service.store.debt_draft import DebtDraft
from otp_service.store.key_names import KeyNames
from otp_service.store.record_cipher import VERSION_DIGITS, RecordCipher


SECRET_GRACE_MS = 10 * SECOND_MS
"""How long after the deadline an attempt that was charged in time may need the code hashes."""

KNOWN_ADDRESSES_VERSION = 1
"""Always the same: the last writer wins, and an address that is lost is unknown until its next login."""

_encode_record = msgspec.msgpack.Encoder().encode
_encode_event = msgspec.json.Encoder().encode


class CommitDraft:
    """One request in one partition: its keys and values, and the fields that refer to them."""

    def __init__(
        self, key_names: KeyNames, cipher: RecordCipher, partition: int, operation_id: str
    ) -> None:
        self.keys = [
            key_names.operation_key(partition, operation_id),
            *key_names.event_log_keys(partition),
        ]
        self.values: list[bytes] = []
        self.fields: dict[str, Any] = defaultdict(list)
        self._key_names = key_names
        self._cipher = cipher
        self._partition = partition

    def add_key(self, key: str) -> int:
        """Return the index of a key, from 1. Add the key if it is new."""
        if key not in self.keys:
            self.keys.append(key)
        return self.keys.index(key) + 1

    def expect(self, key: str, version: int) -> None:
        """Expect a record of this version; 0 expects no record."""
        prefix = RecordCipher.format_version(version) if version else ""
        self.fields["expected_versions"].append(ExpectedVersion(self.add_key(key), prefix))

    def expect_start(self, key: str, value: bytes) -> None:
        """Expect a value that begins as this one does, which is ASCII; an empty one expects no value."""
        prefix = value[:VERSION_DIGITS].decode()
        self.fields["expected_versions"].append(ExpectedVersion(self.add_key(key), prefix))

    def write(self, key: str, value: bytes, expires_at: int = 0) -> None:
        """Write a value that expires at an instant in milliseconds, 0 for never."""
        value_index = self._add_value(value)
        self.fields["writes"].append(KeyWrite(self.add_key(key), value_index, expires_at))

    def _add_value(self, value: bytes) -> int:
        """Add an argument, and return its index."""
        self.values.append(value)
        return len(self.values) + 1  # the request itself is the first argument

    def delete(self, key: str) -> None:
        self.fields["writes"].append(KeyWrite(self.add_key(key)))

    def write_record(self, key: str, version: int, record: msgspec.Struct, expires_at: int) -> None:
        self.write(key, self._cipher.seal_record(key, version, _encode_record(record)), expires_at)

    def append(self, event: Event) -> None:
        self.fields["events"].append(sign_event(self._cipher, event))

    def append_foldable(self, event: Event) -> None:
        """Append one of `events.FOLDABLE_EVENTS`, or count it in its fold."""
        self.fields["foldable_event"] = self._sign_foldable_event(event)

    def add_commit(self, commit: Commit) -> None:
        fields = self.fields
        if commit.swap:
            self._add_swap(commit.swap)
        for swap in commit.record_swaps:
            self._add_record_swap(swap)
        if commit.pointer_swap:
            self._add_pointer_swap(commit.pointer_swap)
        names = self._key_names
        fields["read_keys"] = [
            self.add_key(names.account_record_key(self._partition, name)) for name in commit.reads
        ]
        for mark in commit.submission_marks:
            self._write_submission_mark(mark)
        if commit.recipient:
            fields["absent_keys"] = self._list_absent_keys(commit.recipient)
        fields["charges"] = [
            self._build_charge(charge, commit.operation_id) for charge in commit.charges
        ]
        fields["refunds"] = [
            self._build_operation(refund.charge, refund.operation_id) for refund in commit.refunds
        ]
        fields["only_with_refunds"] = commit.only_with_refunds
        fields["reset_buckets"] = [
            self.add_key(self._key_names.bucket_key(self._partition, bucket))
            for bucket in commit.reset_buckets
        ]
        for event in commit.events:
            self.append(event)
        fields["event_if_refused"] = self._sign_foldable_event(commit.event_if_refused)
        fields["foldable_event"] = self._sign_foldable_event(commit.foldable_event)
        has_grant = any(isinstance(event, GRANT_EVENTS) for event in commit.events)
        fields["requires_log_capacity"] = commit.requires_log_capacity or has_grant
        if commit.known_addresses_of:
            key = self._key_names.known_addresses_key(self._partition, commit.known_addresses_of)
            fields["addresses_key"] = self.add_key(key)
        if commit.new_known_addresses:
            self._write_known_addresses(*commit.new_known_addresses)
        self._add_debts(commit)

    def _add_debts(self, commit: Commit) -> None:
        draft, fields = DebtDraft(self._key_names, self._partition, self.add_key), self.fields
        if commit.debts:
            fields["debts"] = draft.build_charges(commit.debts)
        if commit.settlement:
            fields["settlement"] = draft.build_settlement(commit.settlement)
        if any(part and part.known_number for part in (commit.debts, commit.settlement)):
            fields["limit_key_id"] = self._key_names.limit_key_id
        names = self._key_names
        fields["debt_refunds"] = [
            DebtReversal(
                self.add_key(names.operation_key(self._partition, refund.operation_id)),
                draft.build_charges(refund.debts),
            )
            for refund in commit.debt_refunds
        ]

    def _write_submission_mark(self, mark: SubmissionMark) -> None:
        names = self._key_names
        key = names.submission_mark_key(self._partition, mark.provider, mark.number)
        # The value shows which limit key a mark depends on, before an operator removes that key.
        self.write(key, names.limit_key_id.encode(), mark.expires_at)

    def _list_absent_keys(self, recipient: Recipient) -> list[AbsentKey]:
        """Return the entries of the do-not-send list that refuse a send, the block first."""
        if recipient.earlier_refusal:
            return [AbsentKey(0, recipient.earlier_refusal)]
        names = self._key_names.list_refusing_keys(self._partition, recipient)
        return [AbsentKey(self.add_key(key), reason) for key, reason in names]

    def _write_known_addresses(self, account: Account, known: KnownAddresses) -> None:
        key = self._key_names.known_addresses_key(self._partition, account)
        self.write_record(key, KNOWN_ADDRESSES_VERSION, known, known.expires_at)

    def _add_swap(self, swap: CompareAndSwap) -> None:
        new, old = swap.new, swap.old
        record, secret = self._key_names.challenge_keys(self._partition, new.tenant, new.id)
        self.expect(record, old.version if old else 0)
        # The key has the tenant and the id.
        unnamed = replace(new, tenant="", id="")
        self.write_record(record, new.version, unnamed, new.ends_at + ENDED_RETENTION_MS)
        if swap.secret is None:
            self.delete(secret)
        elif swap.secret is not msgspec.UNSET:
            self.write_record(secret, new.version, swap.secret, new.deadline + SECRET_GRACE_MS)
        self.fields["returned_keys"] = [self.add_key(record), self.add_key(secret)]
        self.fields["deadline"] = swap.deadline

    def _add_record_swap(self, swap: RecordSwap) -> None:
        key = self._key_names.account_record_key(self._partition, swap.name)
        self.expect(key, swap.old_version)
        content = RecordContent(swap.expires_at, swap.body)
        self.write_record(key, swap.old_version + 1, content, swap.expires_at)
        self.fields["returned_keys"].append(self.add_key(key))

    def _add_pointer_swap(self, swap: PointerSwap) -> None:
        name, challenge_id = swap.name, swap.challenge_id
        number = name.phone.canonical
        key = self._key_names.pointer_key(self._partition, name.tenant, name.service, number)
        self.expect(key, swap.old_version)
        # The version is of the challenge, and not a count: a pointer expires, and would begin again.
        version = 1 + int(challenge_id[-6:], 16)
        sealed = self._cipher.seal_record(key, version, challenge_id.encode())
        self.write(key, sealed, swap.expires_at)

    def _build_charge(self, charge: Charge, operation_id: str) -> BucketOperation:
        """Return a charge, with the sealed subject where one of consecutive failures adds to a bucket."""
        operation = self._build_operation(charge, operation_id)
        if not charge.cost or charge.bucket.limit not in CONSECUTIVE_LIMITS:
            return operation
        key, subject = self.keys[operation.key_index - 1], charge.bucket.subject.encode()
        return replace(
            operation, subject_index=self._add_value(self._cipher.seal_constant(key, subject))
        )

    def _build_operation(self, charge: Charge, operation_id: str) -> BucketOperation:
        """Return a charge of the operation with this id, or its refund."""
        bucket, names = charge.bucket, self._key_names
        return BucketOperation(
            bucket.limit.algorithm,
            self.add_key(names.bucket_key(self._partition, bucket)),
            charge.windows,
            charge.cost,
            self.add_key(names.operation_key(self._partition, operation_id)),
            bucket.limit,
            charge.force,
            initial_count=charge.initial_count,
            skip_delay=charge.skip_delay,
        )

    def _sign_foldable_event(self, event: Event | None) -> FoldableEvent | None:
        if event is None:
            return None
        signed = sign_event(self._cipher, event)
        return FoldableEvent(signed.body, signed.mac, event.fold_name, event.client_ip or "")


def sign_event(cipher: RecordCipher, event: Event) -> SignedEvent:
    """Return an event as the commit script appends it."""
    body = _encode_event(event)
    return SignedEvent(body.decode(), cipher.sign_event(body))
