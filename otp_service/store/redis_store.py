"""The store: challenges, buckets and events in Redis, each decision one script.

A call whose reply was lost is made again with the same operation id and answers what it answered;
one that cannot be decided raises StoreUnavailable, on which nobody compares or sends anything.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from otp_service.core.challenge import Challenge, ChallengeSecret, partition_of
from otp_service.core.errors import ChallengeNotFound, StoreTampered, StoreUnavailable
from otp_service.core.events import GRANTS, EpochBegan, Event
from otp_service.core.limits import Bucket, Charge, Refusal
from otp_service.core.policy import SECOND, TOMBSTONE
from otp_service.core.ports import Blocked, Commit, Done, Replayed, Stored, Swap
from otp_service.store.client import Link, Script
from otp_service.store.commit_request import (
    COMMIT,
    DELETE,
    FETCH,
    FIXED,
    Places,
    Request,
    Spend,
    pack,
)
from otp_service.store.key_names import Names
from otp_service.store.pipeline import insist
from otp_service.store.record_cipher import Vault


SECRET_GRACE = 10 * SECOND
"""How long a claim that was paid in time may still need what it is compared with."""

IDEMPOTENCY_LIFE = 24 * 3600 * SECOND

Outcome = Done | Blocked | Refusal | Stored

_encode = msgspec.msgpack.Encoder().encode
_challenge = msgspec.msgpack.Decoder(Challenge).decode
_secret = msgspec.msgpack.Decoder(ChallengeSecret).decode
_replayed = msgspec.msgpack.Decoder(Replayed).decode
_event = msgspec.json.Encoder().encode


class RedisStore:
    """Implements `core.ports.Store`.

    `shift` moves the clock that decisions are made by, in milliseconds: 0 but in tests.
    `earlier` are the names under a limit key that is being rotated: see rotating.py.
    `retention` is in milliseconds; `maximum` is the most entries of one partition's stream.
    With `archives`, entries stay until a sealer has them, and while `maximum` events of a partition
    wait for it, nothing is granted there.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, once
        self,
        link: Link,
        names: Names,
        vault: Vault,
        *,
        epoch_event: EpochBegan,
        earlier: Sequence[Names] = (),
        retention: int = 7 * 86400 * SECOND,
        maximum: int = 5_000,
        archives: bool = False,
        shift: Callable[[], int] = lambda: 0,
    ) -> None:
        self.link = link
        self.names = names
        self.earlier = earlier
        self.vault = vault
        self._log_limits = (retention, maximum, archives)
        self._epoch_event = self._signed(epoch_event)
        self._shift = shift
        self._commit = Script(COMMIT)
        self._fetch = Script(FETCH)

    def partition_of(self, number: str) -> int:
        """Return the partition in which everything about a (collapsed) number lives."""
        return self.names.of_number(number)

    def partitions_of(self, number: str) -> list[int]:
        """Return where a number lives by each limit key, the one in force first."""
        return list(dict.fromkeys(names.of_number(number) for names in self._every))

    def buckets(self, bucket: Bucket, partition: int | None = None) -> list[str]:
        """Return what a number's bucket may be called; first what it is called in `partition`.

        A challenge that was issued under one limit key keeps its partition when another one names
        the buckets in it, so each key's name may stand in each key's partition.
        """
        return self._called(lambda names, at: names.bucket(at, bucket), bucket.subject, partition)

    def entries(self, number: str, partition: int | None = None) -> list[str]:
        """Return what a number's entry on the do-not-send list may be called, in the same way."""
        return self._called(lambda names, at: names.blocked(at, number), number, partition)

    async def delete(self, keys: Sequence[str], operation: str, *, durable: bool = False) -> None:
        """Delete keys of whatever partitions."""
        for partition in sorted({int(key[1:3]) for key in keys}):
            places = Places(self.fixed(partition, operation))
            gone = [(places.of(key), DELETE, 0) for key in keys if int(key[1:3]) == partition]
            await self.run(places, self.request(places, writes=gone), durable=durable)

    def partition_of_bucket(self, bucket: Bucket) -> int:
        """Return the partition of a bucket that is not a number's own."""
        return self.names.of_bucket(bucket)

    async def fetch(self, tenant: str, challenge_id: str) -> Stored:
        """Read a challenge; Raises ChallengeNotFound for an id that is none."""
        partition = partition_of(challenge_id)
        if partition is None:
            raise ChallengeNotFound
        names = self._record_names(partition, tenant, challenge_id)
        now, *values = await self.read(names)
        return self._stored(now, names, values)

    async def commit(self, commit: Commit) -> Outcome:
        """Run the commit; the answers are described in `core.ports`."""
        records, places, request = self._prepared(commit)
        reply = await self.run(places, request, durable=commit.durable)
        return self._outcome(reply, commit, records)

    async def commit_all(self, commits: Sequence[Commit]) -> list[Outcome]:
        """Run each of the commits, in one round trip."""
        prepared = [self._prepared(commit) for commit in commits]
        calls = [(places.names, _arguments(places, request)) for _, places, request in prepared]
        replies = await insist(lambda: self.link.run_all(self._commit, calls))
        return [
            self._outcome(reply, commit, records)
            for reply, commit, (records, *_) in zip(replies, commits, prepared, strict=True)
        ]

    async def recall(self, tenant: str, key: str) -> tuple[int, Replayed | None]:
        """Read what is known of an Idempotency-Key, and the time."""
        _, name = self.names.idempotency(tenant, key)
        now, record = await self.read((name,))
        if record is None:
            return now, None
        version, body = self.vault.open(name, record)
        replayed = _replayed(body)
        return now, msgspec.structs.replace(replayed, version=version)

    async def remember(
        self, tenant: str, key: str, old: Replayed | None, new: Replayed | None, operation: str
    ) -> bool:
        """Replace what is known of an Idempotency-Key; False if somebody was first."""
        partition, name = self.names.idempotency(tenant, key)
        places = Places(self.fixed(partition, operation))
        place = places.of(name)
        value = DELETE
        if new:
            value = places.value(self.vault.close(name, new.version, _encode(new)))
        lease = (new or old or Replayed(0, b"", "", 0)).lease
        request = self.request(
            places,
            expected=[(place, Vault.version(old.version) if old else "")],
            writes=[(place, value, lease + IDEMPOTENCY_LIFE)],
        )
        reply = await self.run(places, request)
        return bool(reply[0] == b"done")

    async def shared(self) -> tuple[int, bytes | None]:
        """Return version and body of what is remembered of providers; 0 and None if nothing is."""
        _, name = self.names.shared()
        _, record = await self.read((name,))
        return self.vault.open(name, record) if record else (0, None)

    async def share(self, version: int, body: bytes, told: Sequence[Event], operation: str) -> bool:
        """Replace it, with the events of what has changed; False if this is not its version."""
        partition, name = self.names.shared()
        places = Places(self.fixed(partition, operation))
        record = places.value(self.vault.close(name, version + 1, body))
        request = self.request(
            places,
            expected=[(places.of(name), Vault.version(version) if version else "")],
            writes=[(places.of(name), record, 0)],
            events=[self._signed(event) for event in told],
        )
        reply = await self.run(places, request)
        return bool(reply[0] == b"done")

    async def sweep(self, partition: int, operation: str) -> None:
        """Append the folded refusals of a partition that are due."""
        places = Places(self.fixed(partition, operation))
        await self.run(places, self.request(places, sweep=1000))

    async def read(self, names: tuple[str, ...]) -> list[Any]:
        """Return the time and the values of keys of one partition; reading twice is harmless."""
        shift = str(self._shift()).encode()
        reply: list[Any] = await insist(lambda: self.link.run(self._fetch, names, (shift,)))
        return reply

    def request(self, places: Places, **fields: Any) -> Request:
        """Return a request with what every one of them carries."""
        assert len(places.names) >= FIXED  # a mistake of ours, not of a caller
        return Request(
            shift=self._shift(),
            epoch_event=self._epoch_event,
            log_limits=self._log_limits,
            **fields,
        )

    async def run(self, places: Places, request: Request, *, durable: bool = False) -> list[Any]:
        """Run the commit script."""
        arguments = _arguments(places, request)
        reply: list[Any] = await insist(
            lambda: self.link.run(self._commit, places.names, arguments, durable=durable)
        )
        if reply[0] == b"full":
            raise StoreUnavailable("The event log has no room until its archive goes on.")
        return reply

    def _prepared(self, commit: Commit) -> tuple[tuple[str, ...], Places, Request]:
        """Return the names of the records that it swaps, and what to run."""
        places = Places(self.fixed(commit.partition, commit.operation))
        records: tuple[str, ...] = ()
        swapped: dict[str, Any] = {}
        if commit.swap:
            records = self._record_names(
                commit.partition, commit.swap.new.tenant, commit.swap.new.id
            )
            swapped = self._swap(places, records, commit.swap)
        request = self.request(
            places,
            **swapped,
            guards=self._guards(places, commit),
            charges=[self._spend(places, commit, c, commit.operation) for c in commit.charges],
            give_backs=[
                self._spend(places, commit, g.charge, g.operation) for g in commit.give_backs
            ],
            clear=[places.of(self.names.bucket(commit.partition, b)) for b in commit.clear],
            events=[self._signed(event) for event in commit.events],
            refusal=self._refusal(commit.refusal),
            denial=self._refusal(commit.denial),
            grants=commit.grants or any(isinstance(event, GRANTS) for event in commit.events),
        )
        return records, places, request

    def _outcome(self, reply: list[Any], commit: Commit, records: tuple[str, ...]) -> Outcome:
        kind, now, *rest = reply
        if kind == b"done":
            return Done(now, rest[0])
        if kind == b"refused":
            return _refused(now, commit.charges, *rest)
        if kind == b"late":
            assert commit.swap  # only a swap has a deadline
            return Stored(now, commit.swap.old, None)
        return self._stored(now, records, rest)

    @property
    def _every(self) -> tuple[Names, ...]:
        return self.names, *self.earlier

    def _called(
        self, name: Callable[[Names, int], str], number: str, partition: int | None
    ) -> list[str]:
        partitions = self.partitions_of(number)
        first = name(self.names, partitions[0] if partition is None else partition)
        called = [name(names, place) for place in partitions for names in self._every]
        return list(dict.fromkeys((first, *called)))

    def fixed(self, partition: int, operation: str) -> tuple[str, ...]:
        """Return the names that every commit begins with: operation and log."""
        return (self.names.operation(partition, operation), *self.names.log(partition))

    def _record_names(self, partition: int, tenant: str, challenge_id: str) -> tuple[str, str]:
        return (
            self.names.challenge(partition, tenant, challenge_id),
            self.names.secret(partition, tenant, challenge_id),
        )

    def _stored(self, now: int, names: tuple[str, ...], values: list[bytes | None]) -> Stored:
        record, sealed = values
        if record is None:
            return Stored(now, None, None)
        try:
            _, body = self.vault.open(names[0], record)
            challenge = _challenge(body)
            opened = None if sealed is None else self.vault.open(names[1], sealed)[1]
            secret = None if opened is None else _secret(opened)
        except msgspec.DecodeError as error:
            raise StoreTampered(names[0]) from error
        if challenge.is_gone(now):
            return Stored(now, None, None)
        return Stored(now, challenge, secret)

    def _swap(self, places: Places, names: tuple[str, ...], swap: Swap) -> dict[str, Any]:
        record, secret = (places.of(name) for name in names)
        new, old = swap.new, swap.old
        closed = places.value(self.vault.close(names[0], new.version, _encode(new)))
        writes = [(record, closed, new.ends_at + TOMBSTONE)]
        if swap.secret is None:
            writes.append((secret, DELETE, 0))
        elif swap.secret is not msgspec.UNSET:
            sealed = self.vault.close(names[1], new.version, _encode(swap.secret))
            writes.append((secret, places.value(sealed), new.deadline + SECRET_GRACE))
        return {
            "expected": [(record, Vault.version(old.version) if old else "")],
            "returned": [record, secret],
            "before": swap.before,
            "writes": writes,
        }

    def _guards(self, places: Places, commit: Commit) -> list[int]:
        if commit.guard is None:
            return []
        return [places.of(self.names.blocked(commit.partition, commit.guard))]

    def _spend(self, places: Places, commit: Commit, charge: Charge, operation: str) -> Spend:
        bucket = charge.bucket
        return Spend(
            bucket.limit.kind,
            places.of(self.names.bucket(commit.partition, bucket)),
            charge.windows,
            charge.cost,
            operation,
            charge.force,
            bucket.limit,
            commit.label,
            charge.base,
        )

    def _signed(self, event: Event) -> tuple[str, str]:
        body = _event(event)
        return body.decode(), self.vault.sign(body)

    def _refusal(self, event: Event | None) -> tuple[str, str, str, str] | None:
        if event is None:
            return None
        kind = event.__struct_config__.tag  # or refused resends would count as refused verifies
        name = f"{kind}:{event.tenant}:{event.number or ''}:{event.reason or ''}"
        return (*self._signed(event), name, event.client_address or "")


def _arguments(places: Places, request: Request) -> tuple[bytes, ...]:
    return pack(request), *places.values


def _refused(now: int, charges: tuple[Charge, ...], place: int, window: int, wait: int) -> Outcome:
    if place == 0:
        return Blocked(now)
    charge = charges[place - 1]
    return Refusal(charge.bucket.limit, charge.windows[window - 1], wait)
