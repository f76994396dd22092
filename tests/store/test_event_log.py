"""The event log of a partition: no gap, no fork, and bounded space for refusals."""

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from otp_service.core.commit import Commit, Committed
from otp_service.core.events import (
    Attempted,
    AuditLookup,
    EpochStarted,
    Event,
    IssueDenied,
    VerifyDenied,
)
from otp_service.core.keys import Key, KeyRing
from otp_service.core.limits import Bucket, Charge, Limit, Window
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.key_names import KeyNames
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore
from otp_service.store.version_guard import read_field
from tests.installation import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, generate_keys
from tests.store import redis_servers


KEYS = generate_keys()
PARTITION = 7

REPLICA_WAIT_SECONDS = "0"
"""Seconds that a master waits for more replicas before it copies itself to the first."""


class LogEntry(NamedTuple):
    """One entry of the log."""

    at: int
    sequence: int
    epoch: int
    event: dict[str, Any]
    stamp: dict[str, Any]
    body: bytes
    mac: str


class EventLogHarness:
    """A store, a clock that tests can advance, and access to the entries of the log."""

    def __init__(self, link: ScriptClient, **options: Any) -> None:
        self.link = link
        self.shift = 0
        self.store = RedisStore(
            link,
            KeyNames(KEYS.limit.current),
            RecordCipher(KEYS, os.urandom),
            epoch_event=EpochStarted(id="epoch"),
            clock_shift_ms=lambda: self.shift,
            **options,
        )

    async def commit(self, **fields: Any) -> Any:
        """Commit with these fields."""
        all_fields: dict[str, Any] = {
            "partition": PARTITION,
            "operation_id": secrets.token_hex(8),
        } | fields
        return await self.store.commit(Commit(**all_fields))

    async def append_events(self, *ids: str, partition: int = PARTITION) -> None:
        """Commit events with these ids."""
        events = tuple(Attempted(id=id_) for id_ in ids)
        assert type(await self.commit(events=events, partition=partition)) is Committed

    async def refuse(self, number: str = "1:aa", *, address: str | None = None) -> None:
        """Commit a refusal by a limit that is already used up."""
        full = Charge(Bucket(Limit.SENDS_TENANT, "shop"), (Window(1, 3600),))
        denied = IssueDenied(
            id=secrets.token_hex(4), tenant="shop", number=number, client_ip=address
        )
        while isinstance(await self.commit(charges=(full,), event_if_refused=denied), Committed):
            pass  # the first charge is within the limit

    async def deny(self, event: Event) -> None:
        """Commit a refusal that was decided without a limit."""
        assert type(await self.commit(foldable_event=event)) is Committed

    async def sweep(self) -> None:
        """Flush the folds that are due."""
        await self.store.flush_folds(PARTITION, secrets.token_hex(8))

    async def read_entries(self, partition: int = PARTITION) -> list[LogEntry]:
        """Return all entries of a partition in their order."""
        _, *streams = self.store.key_names.event_log_keys(partition)[:3]
        replies = await self.link.run_pipeline(
            streams[0], [("XRANGE", s, "-", "+") for s in streams]
        )
        entries = []
        for name, flat in (entry for stream in replies for entry in stream):
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            at, _, sequence = name.partition(b"-")
            event = msgspec.json.decode(fields[b"event"])
            stamp = msgspec.json.decode(fields[b"stamp"]) if fields[b"stamp"] else {}
            epoch, mac = int(fields[b"epoch"]), fields[b"mac"].decode()
            entries.append(
                LogEntry(int(at), int(sequence), epoch, event, stamp, fields[b"event"], mac)
            )
        return sorted(entries)

    async def read_log_field(self, field: str) -> int:
        """Return a field of the log's own record."""
        name = self.store.key_names.event_log_keys(PARTITION)[0]
        (value,) = await self.link.run_pipeline(name, [("HGET", name, field)])
        return int(value or 0)

    async def forget_refusals(self) -> None:
        """Delete the stream of refusals."""
        name = self.store.key_names.event_log_keys(PARTITION)[2]
        await self.link.run_pipeline(name, [("DEL", name)])

    async def count_entries(self, index: int) -> int:
        """Return the number of entries in the stream of events (1) or of refusals (2)."""
        name = self.store.key_names.event_log_keys(PARTITION)[index]
        (length,) = await self.link.run_pipeline(name, [("XLEN", name)])
        return int(length)


@pytest.fixture
def log(script_client: ScriptClient) -> EventLogHarness:
    """Return the log on each kind of Redis in turn."""
    return EventLogHarness(script_client)


@pytest.fixture
async def empty_client(server: EmbeddedServer) -> AsyncIterator[ScriptClient]:
    """Return a client of one empty server, for slow tests that do not depend on the kind of Redis."""
    redis_servers.flush_server(server)
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        yield link


def assert_no_gaps(entries: list[LogEntry]) -> None:
    """Assert that each epoch counts from one without a gap and begins with its event."""
    for epoch in sorted({entry.epoch for entry in entries}):
        epoch_entries = [entry for entry in entries if entry.epoch == epoch]
        assert list(range(1, len(epoch_entries) + 1)) == [entry.sequence for entry in epoch_entries]
        assert ["log.epoch"] + ["other"] * (len(epoch_entries) - 1) == [
            "log.epoch" if entry.event["type"] == "log.epoch" else "other"
            for entry in epoch_entries
        ]
    for previous, following in pairwise(entries):
        assert (previous.epoch, previous.at, previous.sequence) < (
            following.epoch, following.at, following.sequence
        ) or previous.epoch < following.epoch  # fmt: skip
        assert previous.at <= following.at


# ------------------------------------------------------------------------------------ sequence


async def test_the_sequence_has_no_gap_under_load(log: EventLogHarness) -> None:
    """R70: 200 concurrent commits, of one event, of several, refused and denied."""
    calls = []
    for i in range(50):
        calls += [
            log.append_events(f"a{i}"),
            log.append_events(f"b{i}", f"c{i}", f"d{i}"),
            log.refuse(f"1:{i}"),
            log.deny(VerifyDenied(id=f"e{i}", tenant="shop", number=f"1:{i}", reason="expired")),
        ]
    await asyncio.gather(*calls)

    entries = await log.read_entries()

    assert_no_gaps(entries)
    ids = Counter(entry.event["id"] for entry in entries)
    assert {1} == set(ids.values())
    assert {f"{kind}{i}" for kind in "abcde" for i in range(50)} <= ids.keys()
    kinds = Counter(entry.event["type"] for entry in entries)
    assert (200, 50, 50) == tuple(
        kinds[kind] for kind in ("otp.attempted", "otp.issue_denied", "otp.verify_denied")
    )


async def test_each_partition_has_its_own_sequence(log: EventLogHarness) -> None:
    """R70: one master can guarantee a sequence per partition."""
    await asyncio.gather(*(log.append_events("a", "b", partition=p) for p in range(64)))

    for partition in range(64):
        entries = await log.read_entries(partition)
        assert [1, 2, 3] == [entry.sequence for entry in entries]
        assert_no_gaps(entries)


async def test_a_repeated_commit_is_logged_once(log: EventLogHarness) -> None:
    """R83: also for a refusal."""
    full = Charge(Bucket(Limit.SENDS_TENANT, "shop"), (Window(1, 3600),))
    for _ in range(3):
        await log.commit(operation_id="one", charges=(full,), events=(Attempted(id="a"),))
        await log.commit(operation_id="two", charges=(full,), event_if_refused=IssueDenied(id="b"))
        await log.commit(operation_id="three", foldable_event=IssueDenied(id="c"))

    assert ["epoch", "a", "b", "c"] == [entry.event["id"] for entry in await log.read_entries()]


# ------------------------------------------------------------------------------------ epochs


async def test_each_start_of_redis_begins_one_epoch(tmp_path: Path) -> None:
    """R70: a gap is declared, and never looks like a fork; nothing else begins an epoch."""
    for round_ in range(3):
        with redis_servers.start_server(tmp_path) as server:
            async with ScriptClient(create_redis_lines(url=server.url)) as link:
                log = EventLogHarness(link)
                for partition in (PARTITION, 8):
                    for i in range(3):
                        await log.append_events(f"{round_}{i}", partition=partition)
                entries_by_partition = [
                    await log.read_entries(partition) for partition in (PARTITION, 8)
                ]

    for entries in entries_by_partition:
        assert_no_gaps(entries)
        assert 3 == len({entry.epoch for entry in entries})
        ids = [entry.event["id"] for entry in entries]
        assert ["epoch", "00", "01", "02", "epoch", "10", "11", "12"] == ids[:8]


async def test_a_killed_redis_begins_an_epoch_too(tmp_path: Path) -> None:
    """R78: acknowledged events are in the AOF."""
    with redis_servers.start_server(tmp_path) as server:
        async with ScriptClient(create_redis_lines(url=server.url)) as link:
            await EventLogHarness(link).append_events("a", "b")
        redis_servers.kill_server(server)

    with redis_servers.start_server(tmp_path) as server:
        async with ScriptClient(create_redis_lines(url=server.url)) as link:
            log = EventLogHarness(link)
            await log.append_events("c")
            entries = await log.read_entries()

    assert_no_gaps(entries)
    assert ["epoch", "a", "b", "epoch", "c"] == [entry.event["id"] for entry in entries]


async def test_a_failover_that_loses_the_tail_does_not_look_like_a_fork(tmp_path: Path) -> None:
    """R70, R79: both servers continue, and no position in the log is used twice."""
    with (
        redis_servers.start_server(
            tmp_path / "old",
            port=redis_servers.find_free_port(),
            repl_diskless_sync_delay=REPLICA_WAIT_SECONDS,
        ) as old,
        redis_servers.start_replica(tmp_path / "new", old) as new,
        redis_servers.open_client(old) as old_client,
        redis_servers.open_client(new) as new_client,
    ):
        async with (
            # Longer than the WAIT below takes on a busy machine.
            ScriptClient(create_redis_lines(url=old.url, timeout_ms=20_000)) as link,
            ScriptClient(create_redis_lines(url=new.url, timeout_ms=20_000)) as other,
        ):
            before, after = EventLogHarness(link), EventLogHarness(other)
            new_client.config_set("repl-diskless-sync-delay", REPLICA_WAIT_SECONDS)
            await before.append_events("a", "b")
            assert [1] == await link.run_pipeline("", [("WAIT", 1, 10_000)])
            new_client.execute_command("REPLICAOF", "NO", "ONE")
            await before.append_events("lost 1", "lost 2")
            await after.append_events("c", "d")
            lost, read_log_field = await before.read_entries(), await after.read_entries()

            # The old master returns as a replica, and is promoted again.
            old_client.execute_command("REPLICAOF", "127.0.0.1", new.port)
            redis_servers.wait_until(
                lambda: old_client.info("replication").get("master_link_status") == "up"
            )
            old_client.execute_command("REPLICAOF", "NO", "ONE")
            await before.append_events("e")
            restored = await before.read_entries()

    for entries in (lost, read_log_field, restored):
        assert_no_gaps(entries)
    assert ["epoch", "c", "d"] == [entry.event["id"] for entry in read_log_field][-3:]
    assert [*read_log_field, restored[-2], restored[-1]] == restored
    assert ["epoch", "e"] == [entry.event["id"] for entry in restored][-2:]
    positions = Counter(
        (e.epoch, e.sequence) for e in {(*e[:3], e.body): e for e in lost + read_log_field}.values()
    )
    assert {1} == set(positions.values())


# ------------------------------------------------------------------------------------ MACs


async def test_every_event_has_the_mac_of_its_worker(log: EventLogHarness) -> None:
    """R70: refusals, folds and epochs too; and no other event has it."""
    await log.append_events("a")
    for _ in range(15):
        await log.refuse()
    log.shift += MINUTE_MS
    await log.sweep()

    entries = await log.read_entries()

    assert 1 + 1 + 10 + 1 == len(entries)
    for entry in entries:
        assert log.store.cipher.verify_event(entry.body, entry.mac)
        assert not log.store.cipher.verify_event(entry.body + b" ", entry.mac)
        assert not log.store.cipher.verify_event(entry.body.replace(b'"', b"'", 1), entry.mac)
        assert not log.store.cipher.verify_event(entry.body, f"2:{entry.mac.partition(':')[2]}")
        assert not log.store.cipher.verify_event(entry.body, "")
    assert 1 == len({entry.mac for entry in entries if entry.event["id"] == "epoch"})


async def test_a_mac_verifies_during_the_rotation_of_its_key(log: EventLogHarness) -> None:
    """R12: the old key still verifies, until it is removed."""
    await log.append_events("a")
    (_, entry) = await log.read_entries()

    new = Key("2", os.urandom(32))
    both = KeyRing((new, *KEYS.state.keys))
    rotated = RecordCipher(msgspec.structs.replace(KEYS, state=both), os.urandom)
    completed = RecordCipher(msgspec.structs.replace(KEYS, state=KeyRing((new,))), os.urandom)

    assert rotated.verify_event(entry.body, entry.mac)
    assert not completed.verify_event(entry.body, entry.mac)


# ------------------------------------------------------------------------------------ folding


async def test_refusals_beyond_ten_a_minute_become_one_event(log: EventLogHarness) -> None:
    """The issue's events: first, last, count and distinct addresses."""
    addresses = ["203.0.113.1"] * 20 + ["203.0.113.2"] * 20 + [f"2001:db8::{i}" for i in range(5)]
    for address in addresses:
        await log.refuse(address=address)
        log.shift += SECOND_MS
    await log.sweep()
    early = await log.read_entries()
    log.shift += 15 * SECOND_MS
    await log.sweep()

    _, *entries = await log.read_entries()

    assert 1 + 10 == len(early)
    assert 10 + 1 == len(entries)
    *single, folded = entries
    assert all("folded" not in entry.stamp for entry in single)
    stamp = folded.stamp
    assert (35, 7) == (stamp["folded"], stamp["client_ips"])
    assert 34 * SECOND_MS <= stamp["last"] - stamp["first"] < 35 * SECOND_MS
    assert stamp["first"] >= single[-1].at
    assert ("SendsPerTenant", 1, 3600) == (stamp["limit"], stamp["quota"], stamp["period"])
    assert "otp.issue_denied" == folded.event["type"]


async def test_each_number_reason_and_kind_has_its_own_fold(log: EventLogHarness) -> None:
    """The issue's events: for one number and reason; issue and verify are not added up."""
    denials = [
        IssueDenied(id="1", tenant="shop", number="1:aa", reason="expired"),
        IssueDenied(id="2", tenant="shop", number="1:bb", reason="expired"),
        IssueDenied(id="3", tenant="shop", number="1:aa", reason="country"),
        IssueDenied(id="4", tenant="bank", number="1:aa", reason="expired"),
        VerifyDenied(id="5", tenant="shop", number="1:aa", reason="expired"),
    ]
    for event in denials * 15:
        await log.deny(event)
    log.shift += MINUTE_MS
    await log.sweep()

    folded = [entry for entry in await log.read_entries() if "folded" in entry.stamp]

    assert {"1", "2", "3", "4", "5"} == {entry.event["id"] for entry in folded}
    assert {5} == {entry.stamp["folded"] for entry in folded}


async def test_a_fold_is_flushed_by_the_next_event_after_its_minute(log: EventLogHarness) -> None:
    """The issue's events: also without a sweep, by an event of another number."""
    for _ in range(15):
        await log.refuse()
    log.shift += MINUTE_MS
    await log.append_events("a")

    assert 5 == (await log.read_entries())[-1].stamp["folded"]
    await log.refuse()
    log.shift += MINUTE_MS
    await log.append_events("b")
    assert 1 == sum("folded" in entry.stamp for entry in await log.read_entries())


@pytest.mark.parametrize("flushed_by", ["sweep", "refusal"])
async def test_a_fold_of_a_clock_that_was_ahead_is_flushed_at_once(
    log: EventLogHarness, flushed_by: str
) -> None:
    """R81: it would be due in a day, and until then the refusals would be counted in silence."""
    log.shift += 26 * HOUR_MS
    for _ in range(15):
        await log.refuse()
    log.shift -= 26 * HOUR_MS

    await (log.sweep() if flushed_by == "sweep" else log.refuse())

    assert [5] == [e.stamp["folded"] for e in await log.read_entries() if "folded" in e.stamp]


async def test_a_flushed_fold_is_deleted(log: EventLogHarness) -> None:
    """R68: addresses of callers are stored only while they are counted."""
    for i in range(150):
        await log.refuse(address=f"203.0.113.{i}")
    log.shift += MINUTE_MS
    await log.sweep()

    *_, folds, due = log.store.key_names.event_log_keys(PARTITION)
    assert [0, 0] == await log.link.run_pipeline(folds, [("EXISTS", folds), ("EXISTS", due)])
    assert 100 == (await log.read_entries())[-1].stamp["client_ips"]  # the maximum


async def test_a_flood_for_one_number_costs_a_bounded_number_of_entries(
    empty_client: ScriptClient,
) -> None:
    """A19: 5,000 refusals in five minutes are eleven entries a minute, and none is lost."""
    log = EventLogHarness(empty_client)
    for _ in range(5):
        for _ in range(50):
            await asyncio.gather(*(log.refuse(address="203.0.113.9") for _ in range(20)))
        log.shift += MINUTE_MS
    await log.sweep()

    refusals = [e for e in await log.read_entries() if e.event["type"] == "otp.issue_denied"]

    assert len(refusals) <= 5 * 11
    assert 5000 == sum(entry.stamp.get("folded", 1) for entry in refusals)


# --------------------------------------------------------------------------------- the maximum size


async def test_refusals_fill_at_most_half_and_the_newest_stay(log: EventLogHarness) -> None:
    """Refusals push no event of a change out of the log, and a flood does not hide what follows."""
    small = EventLogHarness(log.link, max_stream_entries=80)
    for i in range(15):
        await small.append_events(f"a{i}")
    for i in range(100):
        await small.refuse(f"1:{i}")
    await small.refuse("1:attack")

    entries = await small.read_entries()
    refused = [e for e in entries if e.event["type"] == "otp.issue_denied"]

    assert {f"a{i}" for i in range(15)} <= {entry.event["id"] for entry in entries}
    assert 40 - 3 < len(refused) <= 40  # three are deleted at once
    assert ["1:98", "1:99", "1:attack"] == [e.event["number"] for e in refused[-3:]]
    assert 101 == len(refused) + sum(e.stamp.get("unrecorded", 0) for e in refused)


async def test_a_deleted_fold_keeps_its_count(log: EventLogHarness) -> None:
    """The issue's events: the log reports how much it lacks."""
    small = EventLogHarness(log.link, max_stream_entries=80)
    for _ in range(25):
        await small.refuse("1:a")  # ten are stored one by one, the rest in a fold
    small.shift += MINUTE_MS
    await small.sweep()
    for i in range(200):
        await small.refuse(f"1:{i}")

    refused = [e for e in await small.read_entries() if e.event["type"] == "otp.issue_denied"]
    counts = [e.stamp.get("folded", 1) + e.stamp.get("unrecorded", 0) for e in refused]

    assert "1:a" not in {entry.event["number"] for entry in refused}
    assert 225 == sum(counts)


@pytest.mark.parametrize("kind", [IssueDenied, AuditLookup])
async def test_a_flood_of_one_tenant_deletes_no_refusal_of_another(
    log: EventLogHarness, kind: type[Event]
) -> None:
    """R65: whatever a caller may cause for free, it displaces its own entries only."""
    small = EventLogHarness(log.link, max_stream_entries=80)
    for i in range(12):
        await small.deny(VerifyDenied(id=f"v{i}", tenant="bank", number=f"1:{i}"))
        await small.deny(AuditLookup(id=f"l{i}", tenant="bank", number=f"1:{i}"))
    for i in range(300):
        await small.deny(kind(id=f"f{i}", tenant="shop", number=f"1:{i}"))

    ids = {entry.event["id"] for entry in await small.read_entries()}

    assert {f"{name}{i}" for name in "vl" for i in range(12)} <= ids
    assert "f299" in ids


async def test_a_full_log_with_an_archive_folds_every_refusal(log: EventLogHarness) -> None:
    """A gap in the sequence would look like tampering, so nothing is deleted before it is archived."""
    small = EventLogHarness(log.link, max_stream_entries=40, has_archive=True)
    for i in range(30):
        await small.refuse(f"1:{i}")
        await small.refuse("1:attack")
    small.shift += 2 * MINUTE_MS
    await small.sweep()
    full, stored = await small.read_entries(), await small.count_entries(2)

    after = []
    for _ in range(2):
        await small.forget_refusals()  # as if they were archived
        await small.sweep()
        after += await small.read_entries()

    assert_no_gaps(full)
    assert 20 == stored == len(full) - 1
    folded = {e.event["number"]: e.stamp["folded"] for e in after if "folded" in e.stamp}
    assert 30 - 10 == folded["1:attack"]
    assert {f"1:{i}" for i in range(10, 30)} <= set(folded)


async def test_a_full_log_with_an_archive_counts_what_has_no_fold(log: EventLogHarness) -> None:
    """The folds that wait for the archive are bounded, too."""
    small = EventLogHarness(log.link, max_stream_entries=4, has_archive=True)
    for i in range(1010):
        await small.deny(VerifyDenied(id=str(i), tenant="shop", number=f"1:{i}"))
    await small.forget_refusals()
    small.shift += MINUTE_MS
    await small.sweep()

    assert 1010 - 1000 == await small.read_log_field("unrecorded") + sum(
        e.stamp.get("unrecorded", 0) for e in await small.read_entries()
    )


async def test_events_are_stored_up_to_a_maximum(log: EventLogHarness) -> None:
    """The issue's events: a stated maximum; the newest stay."""
    small = EventLogHarness(log.link, max_stream_entries=200)
    for i in range(0, 700, 10):
        await small.append_events(*(str(n) for n in range(i, i + 10)))

    entries = await small.read_entries()

    assert 200 <= len(entries) <= 300  # Redis drops whole nodes of at most a hundred
    assert [str(n) for n in range(600, 700)] == [entry.event["id"] for entry in entries[-100:]]
    assert 701 == entries[-1].sequence


async def test_entries_are_stored_for_seven_days(log: EventLogHarness) -> None:
    """The issue's events: no less, and hardly more."""
    await log.append_events(*(f"old {i}" for i in range(300)))
    for i in range(300):
        await log.refuse(f"1:{i}")
    log.shift += 7 * DAY_MS - MINUTE_MS
    await log.append_events("in time")
    read_log_field = await log.read_entries()
    log.shift += HOUR_MS + 2 * MINUTE_MS  # the streams are trimmed once an hour
    await log.append_events("too late")

    after = await log.read_entries()

    assert 1 + 300 + 300 + 1 == len(read_log_field)
    assert len([entry for entry in after if entry.at < read_log_field[-1].at]) < 100
    assert ["in time", "too late"] == [entry.event["id"] for entry in after][-2:]


async def test_an_unused_log_expires(log: EventLogHarness) -> None:
    """R68: personal data expires, even where nothing is written any more."""
    await log.append_events("a")
    await log.refuse()
    _, *streams = log.store.key_names.event_log_keys(PARTITION)[:3]

    for ttl_ms in await log.link.run_pipeline(streams[0], [("PTTL", name) for name in streams]):
        assert 7 * DAY_MS <= ttl_ms <= 7 * DAY_MS + HOUR_MS


async def read_ttls(log: EventLogHarness) -> list[int]:
    """Return how long the events and the refusals are kept; below 0 for a stream without an end."""
    _, *streams = log.store.key_names.event_log_keys(PARTITION)[:3]
    ttls = await log.link.run_pipeline(streams[0], [("PTTL", name) for name in streams])
    return [int(ttl) for ttl in ttls]


async def test_a_stream_that_is_new_in_its_epoch_expires(log: EventLogHarness) -> None:
    """R68: the first refusal is not the entry with which the streams are trimmed."""
    await log.append_events("a")
    await log.append_events("b")
    await log.refuse()

    assert all(ttl > 0 for ttl in await read_ttls(log))


async def test_an_entry_is_kept_for_its_retention_though_few_follow(log: EventLogHarness) -> None:
    """The streams expire as a whole, so the last of a few entries extends their life."""
    await log.append_events("a")
    _, events, *_ = log.store.key_names.event_log_keys(PARTITION)
    await log.link.run_pipeline(events, [("PEXPIRE", events, DAY_MS)])  # as six days later
    log.shift += 6 * DAY_MS

    await log.append_events("b")

    assert (await read_ttls(log))[0] >= 7 * DAY_MS - MINUTE_MS


async def test_the_streams_are_trimmed_once_in_many_entries(log: EventLogHarness) -> None:
    await log.append_events("first")
    _, events, *_ = log.store.key_names.event_log_keys(PARTITION)
    await log.link.run_pipeline(events, [("CONFIG", "RESETSTAT")])

    for i in range(64):
        await log.append_events(f"{i}")

    (info,) = await log.link.run_pipeline(events, [("INFO", "commandstats")])
    assert read_field(info, "cmdstat_xtrim").startswith(f"calls={2 * 3},")


# ------------------------------------------------------------------------------------ clocks


async def test_a_clock_that_steps_back_does_not_reorder_the_log(log: EventLogHarness) -> None:
    """R81: the time of an entry never decreases, and nothing is refused because of it."""
    for step in (0, -HOUR_MS, 5 * SECOND_MS, -DAY_MS, 2 * DAY_MS, -30 * DAY_MS):
        log.shift += step
        await log.append_events(f"{step}")
        await log.refuse(f"1:{step}")

    entries = await log.read_entries()

    assert_no_gaps(entries)
    assert 1 + 6 + 6 == len(entries)


async def test_an_epoch_with_an_earlier_clock_follows_the_last_epoch(
    log: EventLogHarness,
) -> None:
    """R70, R81: a new master's clock is behind."""
    await log.append_events("a", "b")
    name = log.store.key_names.event_log_keys(PARTITION)[0]
    await log.link.run_pipeline(name, [("HSET", name, "server", "another")])
    log.shift -= HOUR_MS
    await log.append_events("c")

    entries = await log.read_entries()

    assert_no_gaps(entries)
    assert ["epoch", "a", "b", "epoch", "c"] == [entry.event["id"] for entry in entries]
