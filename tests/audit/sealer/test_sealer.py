"""The lines that a sealer archives, on each kind of Redis."""

import asyncio
import contextlib
import json
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from otp_service.audit.archive_format.entries import SEAL_PREFIX
from otp_service.audit.archive_format.seals import SigningKey, build_anchor
from otp_service.audit.sealer import sink_queue
from otp_service.audit.sealer.backlog import ENTRIES_PER_STREAM
from otp_service.audit.sealer.signer import Signer
from otp_service.audit.sealer.status import SealerStatus
from otp_service.audit.sinks.base import SinkError
from otp_service.core.errors import StoreUnavailable
from otp_service.core.events import Attempted, IssueDenied, Unlocked
from otp_service.core.log_entry import ArchivedPosition
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from tests.audit.sealed_log import (
    EXHAUSTED_CHARGE,
    SIGNING_KEY,
    SealedLog,
    decode_line,
    get_stream_keys,
    run_redis_command,
    run_until_idle,
)
from tests.store import redis_servers


@pytest.fixture
def log(script_client: ScriptClient, tmp_path: Path) -> SealedLog:
    """The log on each kind of Redis in turn."""
    return SealedLog(script_client, tmp_path / "archive")


# ------------------------------------------------------------------------------- lines


async def test_everything_is_archived_in_order_and_verifies(log: SealedLog) -> None:
    """Several partitions, events and refusals, over several turns and seals."""
    sealer = log.create_sealer()
    for round_ in range(3):
        for partition in (0, 7, 63):
            await log.append_events(
                f"{round_}{partition}a", f"{round_}{partition}b", partition=partition
            )
            await log.append_denial(partition)
        await run_until_idle(sealer)
    await sealer.stop()

    log.assert_complete()
    assert 9 == sum(e["event"]["type"] == "otp.issue_denied" for e in log.read_entries())
    kinds = Counter(e["event"].get("reason") for e in log.read_entries())
    assert (1, 1) == (kinds["started"], kinds["stopped"])


async def test_more_entries_than_one_read_returns_are_archived_completely(log: SealedLog) -> None:
    """Both streams of a partition are cut at the end of the shorter read."""
    for i in range(3 * ENTRIES_PER_STREAM):
        await log.append_events(str(i))
        if i % 3 == 0:
            await log.append_denial()
    sealer = log.create_sealer()

    await run_until_idle(sealer)
    await sealer.stop()

    log.assert_complete()
    ours = [e["event"]["id"] for e in log.read_entries() if e["event"]["id"] in log.expected_ids]
    assert log.expected_ids == ours


async def test_segments_end_with_a_seal_when_they_are_full_and_with_the_day(
    sealed_log: SealedLog,
) -> None:
    """The first seal of each has the heads of all partitions."""
    sealer = sealed_log.create_sealer(segment_bytes=900)
    for i in range(6):
        await sealed_log.append_events(f"a{i}", f"b{i}")
        await run_until_idle(sealer)
    sealed_log.advance_clock(86400)
    await sealed_log.expire_lease()
    await sealed_log.append_events("tomorrow")
    await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete()
    found = sorted(
        p.relative_to(sealed_log.folder).as_posix() for p in sealed_log.folder.glob("*/*")
    )
    assert 3 <= len(found)
    assert {"2025-11-22", "2025-11-23"} == {name[:10] for name in found}
    for name in found:
        lines = (sealed_log.folder / name).read_bytes().splitlines()
        first = next(line for line in lines if line.startswith(SEAL_PREFIX))
        assert decode_line(first)["seal"]["heads"]
        assert lines[-1].startswith(SEAL_PREFIX)


async def test_without_events_nothing_is_written_or_sealed(
    sealed_log: SealedLog,
) -> None:
    """An archive does not grow in a night without requests."""
    sealer = sealed_log.create_sealer()
    await sealed_log.append_events("a")
    await run_until_idle(sealer)
    before = sealed_log.read_lines()

    for _ in range(5):
        sealed_log.advance_clock(1)
        await sealer.run_once()

    assert before == sealed_log.read_lines()


# ------------------------------------------------------------------------------- gaps and forged entries


async def test_missing_entries_are_declared_as_gaps(log: SealedLog) -> None:
    """Deleted in the middle, at the end, and all of them; each with the event of the gap."""
    sealer = log.create_sealer()
    await log.append_events("a", "b", "c", "d")
    _, events, _ = get_stream_keys(log)
    entries = await run_redis_command(log, "XRANGE", events, "-", "+")
    await run_redis_command(log, "XDEL", events, entries[2][0], entries[4][0])
    log.expected_ids = ["a", "c"]
    await run_until_idle(sealer)
    await log.append_events("e")
    await run_redis_command(log, "DEL", events)
    log.expected_ids = ["a", "c"]
    await run_until_idle(sealer)
    await log.append_events("f")
    await run_until_idle(sealer)
    await sealer.stop()

    log.assert_complete(gaps=3)
    assert [(3, 3), (5, 5), (6, 6)] == [(gap["first"], gap["last"]) for gap in log.read_gaps()]
    changes = [e["event"] for e in log.read_entries() if e["event"].get("reason") == "gap"]
    assert 3 == sum(event["missing"] for event in changes)


async def test_entries_trimmed_before_the_archive_existed_are_declared_as_a_gap(
    sealed_log: SealedLog,
) -> None:
    """The archive begins with the oldest entry in Redis."""
    await sealed_log.append_events(*map(str, range(300)))
    _, events, _ = get_stream_keys(sealed_log)
    await run_redis_command(sealed_log, "XTRIM", events, "MAXLEN", 100)
    sealed_log.expected_ids = sealed_log.expected_ids[-100:]
    sealer = sealed_log.create_sealer()

    await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete(gaps=1)
    assert (1, 201) == (sealed_log.read_gaps()[0]["first"], sealed_log.read_gaps()[0]["last"])


async def test_an_entry_without_a_mac_of_a_worker_is_archived_with_failed_integrity(
    sealed_log: SealedLog,
) -> None:
    """R72: an attacker who writes to Redis is detected."""
    await sealed_log.append_events("a")
    name, events, _ = get_stream_keys(sealed_log)
    epoch, seq, ms = await run_redis_command(sealed_log, "HMGET", name, "epoch", "seq", "ms")
    forged = b"%d-%d" % (int(ms), int(seq) + 1)
    await run_redis_command(
        sealed_log, "XADD", events, forged, "event", '{"id":"x"}', "mac", "t1:00", "epoch", epoch
    )
    await run_redis_command(sealed_log, "HSET", name, "seq", int(seq) + 1)
    sealer = sealed_log.create_sealer()

    await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete()
    failed = [e["event"]["id"] for e in sealed_log.read_entries() if e.get("integrity") == "failed"]
    assert ["x"] == failed
    assert 1 == sealer.status.failed


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("at", ["9999999999999-1", "{ms}-{far}"])
async def test_entries_with_ids_of_the_future_hide_no_later_entry(
    sealed_log: SealedLog, stream: int, at: str
) -> None:
    """An attacker appends ids that the log has not assigned: they are not part of it."""
    await sealed_log.append_events("a")
    names = get_stream_keys(sealed_log)
    epoch, seq, ms = await run_redis_command(sealed_log, "HMGET", names[0], "epoch", "seq", "ms")
    id_ = at.format(ms=ms.decode(), far=int(seq) + 1_000_000)
    added = ("event", '{"id":"x"}', "mac", "t1:00", "epoch", epoch)
    await run_redis_command(sealed_log, "XADD", names[stream], id_, *added)
    sealer = sealed_log.create_sealer()
    await run_until_idle(sealer)
    await asyncio.sleep(0.002)  # so that the next entry is of another millisecond
    if stream == 2 or not at.startswith("9"):  # else the stream takes no further events
        await sealed_log.append_events("b")
    await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete()


# ------------------------------------------------------------------------------- epochs


async def test_a_restart_of_redis_begins_an_epoch_in_the_archive(tmp_path: Path) -> None:
    """Also if no sealer ran during the epoch."""
    expected_ids: list[str] = []
    for round_ in range(3):
        with redis_servers.start_server(tmp_path / "redis") as server:
            async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
                log = SealedLog(link, tmp_path / "archive")
                log.expected_ids = expected_ids
                await log.append_events(f"a{round_}", f"b{round_}")
                if round_ != 1:
                    sealer = log.create_sealer()
                    await run_until_idle(sealer)
                    await sealer.stop()

    log.assert_complete()
    assert 3 == len({e["id"].split("-")[1] for e in log.read_entries() if e["id"].startswith("07")})


async def test_an_unexpected_error_does_not_end_the_sealer(sealed_log: SealedLog) -> None:
    """The next turn reads the state from the folder."""
    sealer = sealed_log.create_sealer()
    await sealed_log.append_events("a")
    real = sealed_log.source.mark_archived
    sealed_log.source.mark_archived = None  # type: ignore[assignment,method-assign]
    assert not await sealer.run_once()
    sealed_log.source.mark_archived = real  # type: ignore[method-assign]
    await sealed_log.append_events("b")
    await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete()


async def test_an_epoch_with_a_lower_number_than_a_lost_one_is_archived_too(
    sealed_log: SealedLog,
) -> None:
    """A clock that was ahead may have begun the lost epoch. Repeated entries are recognized."""
    name, events, _ = get_stream_keys(sealed_log)
    await sealed_log.append_events("a")
    dump = [(key, await run_redis_command(sealed_log, "DUMP", key)) for key in (name, events)]
    sealer = sealed_log.create_sealer(segment_bytes=1)
    await run_until_idle(sealer)
    sealed_log.clock_shift_ms = 60_000
    await run_redis_command(sealed_log, "HSET", name, "server", "another")
    await sealed_log.append_events("b")
    await run_until_idle(sealer)
    for key, value in dump:  # the state of a replica that did not get b
        await run_redis_command(sealed_log, "RESTORE", key, 0, value, "REPLACE")
    sealed_log.clock_shift_ms = 0
    await run_redis_command(sealed_log, "HSET", name, "server", "a third one")
    await sealer.stop()
    await sealed_log.append_events("c")
    heir = sealed_log.create_sealer()
    await run_until_idle(heir)
    await heir.stop()

    sealed_log.assert_complete()
    assert 3 == len(
        {e["id"].split("-")[1] for e in sealed_log.read_entries() if e["id"].startswith("07")}
    )


# ------------------------------------------------------------------------------- several sealers


async def test_another_sealer_takes_over_when_the_lease_has_expired(sealed_log: SealedLog) -> None:
    """Not earlier; the fencing token grows."""
    one, other = sealed_log.create_sealer(), sealed_log.create_sealer()
    await sealed_log.append_events("a")
    await run_until_idle(one)
    await other.run_once()
    assert (True, False) == (one.is_leader, other.is_leader)

    sealed_log.advance_clock()
    await sealed_log.expire_lease()
    await sealed_log.append_events("b")
    await run_until_idle(other)
    await one.run_once()
    await sealed_log.append_events("c")
    await run_until_idle(one)

    assert (False, True) == (one.is_leader, other.is_leader)
    await run_until_idle(other)
    await other.stop()
    sealed_log.assert_complete()
    fences = [
        decode_line(line)["seal"]["fence"]
        for line in sealed_log.read_lines()
        if line.startswith(SEAL_PREFIX)
    ]
    assert sorted(fences) == fences
    assert [1, 2] == sorted(set(fences))


async def test_a_sealer_with_an_expired_lease_writes_nothing(sealed_log: SealedLog) -> None:
    """Its clock did not advance; the folder has a higher fencing token."""
    one, other = sealed_log.create_sealer(clock=lambda: 0.0), sealed_log.create_sealer()
    await sealed_log.append_events("a")
    await run_until_idle(one)
    await sealed_log.expire_lease()
    await run_until_idle(other)
    before = sealed_log.read_lines()

    one._lease._renew_at = 10.0
    await sealed_log.append_events("b")
    await one.run_once()

    assert before == sealed_log.read_lines()
    assert not one.is_leader
    await run_until_idle(other)
    await other.stop()
    sealed_log.assert_complete()


async def test_fencing_tokens_grow_after_redis_has_lost_them(sealed_log: SealedLog) -> None:
    """The folder stores the last one."""
    for round_ in range(3):
        sealer = sealed_log.create_sealer()
        await sealed_log.append_events(f"a{round_}")
        await run_until_idle(sealer)
        await sealer.stop()
        await run_redis_command(sealed_log, "DEL", sealed_log.store.key_names.sealer_key())
        if round_ == 1:
            (sealed_log.folder / "lock").unlink()

    fences = [
        decode_line(line)["seal"]["fence"]
        for line in sealed_log.read_lines()
        if line.startswith(SEAL_PREFIX)
    ]
    assert [1, 2, 3] == sorted(set(fences))
    sealed_log.assert_complete()


async def test_a_folder_with_less_than_is_marked_gets_all_entries_of_redis(
    sealed_log: SealedLog, tmp_path: Path
) -> None:
    """A new folder, or one of another machine: both get what Redis still has."""
    for name in ("one", "two", "one"):
        sealed_log.folder = tmp_path / name
        await sealed_log.append_events(secrets.token_hex(4), secrets.token_hex(4))
        sealer = sealed_log.create_sealer()
        await run_until_idle(sealer)
        await sealer.stop()

    sealed_log.assert_complete()
    sealed_log.folder = tmp_path / "two"
    sealed_log.expected_ids = sealed_log.expected_ids[:4]
    sealed_log.assert_complete()


# ------------------------------------------------------------------------------- keys


async def test_without_the_previous_key_nothing_is_sealed(sealed_log: SealedLog) -> None:
    """A seal under a key without a handover would break the chain."""
    old = sealed_log.create_sealer()
    await sealed_log.append_events("a")
    await run_until_idle(old)
    await old.stop()

    other = sealed_log.create_sealer(signing=Signer(SigningKey.generate()))
    await run_until_idle(other)

    assert "damaged" == other.status.trouble
    sealed_log.assert_complete()


async def test_a_handover_that_begins_a_segment_states_the_heads(sealed_log: SealedLog) -> None:
    """The next sealer reads that segment alone: without the heads it archived everything again.

    A sealer with a new key that is started on a quiet day was enough. Found by the simulation.
    """
    new_key = SigningKey.generate()
    old = sealed_log.create_sealer()
    await sealed_log.append_events("a", "b")
    await run_until_idle(old)
    await old.stop()

    sealed_log.advance_clock(86400)
    sealer = sealed_log.create_sealer(signing=Signer(new_key, SIGNING_KEY))
    await sealer.run_once()
    sealer._writer.close()  # it was killed
    await sealed_log.expire_lease()
    successor = sealed_log.create_sealer(signing=Signer(new_key, SIGNING_KEY))
    await sealed_log.append_events("c")
    await run_until_idle(successor)
    await successor.stop()

    sealed_log.assert_complete(SIGNING_KEY, new_key)


# ------------------------------------------------------------------------------- sinks


class RecordingSink:
    """A sink that stores lines, or fails."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.works = True

    async def append_lines(self, lines: Sequence[bytes]) -> None:
        if not self.works:
            raise SinkError("unavailable")
        self.lines += lines


class SealRefusingSink(RecordingSink):
    """A sink that fails for seals alone."""

    async def append_lines(self, lines: Sequence[bytes]) -> None:
        if self.works or any(line.startswith(SEAL_PREFIX) for line in lines):
            await super().append_lines(lines)
        else:
            self.lines += lines


async def test_a_sink_gets_every_line_after_a_failure(sealed_log: SealedLog) -> None:
    """Redis keeps the entries meanwhile."""
    sink, other = RecordingSink(), RecordingSink()
    sealer = sealed_log.create_sealer(sinks=(other, sink))
    await sealed_log.append_events("a")
    await run_until_idle(sealer)
    sink.works = False
    await sealed_log.append_events("b")
    await run_until_idle(sealer)
    name, *_ = get_stream_keys(sealed_log)
    assert b"1" == await run_redis_command(sealed_log, "HGET", name, "waiting")
    assert "sink" == sealer.status.trouble
    sink.works = True
    await sealed_log.append_events("c")
    await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete()
    assert sealed_log.read_lines() == sink.lines
    assert Counter(sealed_log.read_lines()) == Counter(other.lines)


async def test_the_next_sealer_delivers_the_lines_that_a_dead_one_did_not(
    sealed_log: SealedLog,
) -> None:
    """At least once: ids identify duplicates."""
    sink = RecordingSink()
    sink.works = False
    dead = sealed_log.create_sealer(sinks=(sink,))
    await sealed_log.append_events("a", "b")
    await run_until_idle(dead)
    dead._writer.close()
    sink.works = True
    await sealed_log.expire_lease()
    heir = sealed_log.create_sealer(sinks=(sink,))
    await run_until_idle(heir)
    await heir.stop()

    assert set(sealed_log.read_lines()) == set(sink.lines)


async def test_a_sink_gets_the_seal_before_a_handover_to_another_key(sealed_log: SealedLog) -> None:
    """A sealer has delivered all entries, and ends before it delivers the last seal.

    The next one hands over to its key before it delivers anything. Found by the simulation.
    """
    sink, new_key = SealRefusingSink(), SigningKey.generate()
    dead = sealed_log.create_sealer(sinks=(sink,), seal_seconds=60)
    await sealed_log.append_events("a", "b")
    await run_until_idle(dead)
    sink.works = False
    await dead.stop()
    sink.works = True
    await sealed_log.expire_lease()
    heir = sealed_log.create_sealer(sinks=(sink,), signing=Signer(new_key, SIGNING_KEY))
    await run_until_idle(heir)
    await heir.stop()

    sealed_log.assert_complete(SIGNING_KEY, new_key)
    assert set(sealed_log.read_lines()) == set(sink.lines)


async def test_the_anchor_of_each_seal_is_delivered(sealed_log: SealedLog) -> None:
    """After the seal is on the disk."""
    sink = RecordingSink()
    sealer = sealed_log.create_sealer(anchor_sinks=(sink,))
    for id_ in "abc":
        await sealed_log.append_events(id_)
        await run_until_idle(sealer)
    await sealer.stop()

    seals = [line for line in sealed_log.read_lines() if line.startswith(SEAL_PREFIX)]
    assert 3 <= len(seals)
    assert [str(build_anchor(line)).encode() for line in seals] == sink.lines
    assert sealer.status.anchored_at


async def test_undelivered_anchors_delay_nothing_and_the_newest_is_delivered_later(
    sealed_log: SealedLog,
) -> None:
    """It commits to all before it. The status has the time of the last delivery, for an alert."""
    sink = RecordingSink()
    sink.works = False
    sealer = sealed_log.create_sealer(anchor_sinks=(sink,))
    for id_ in "abc":
        await sealed_log.append_events(id_)
        await run_until_idle(sealer)
    assert (0, "") == (sealer.status.anchored_at, sealer.status.trouble)
    seals = [line for line in sealed_log.read_lines() if line.startswith(SEAL_PREFIX)]
    sink.works = True
    await run_until_idle(sealer)

    assert [str(build_anchor(seals[-1])).encode()] == sink.lines
    assert sealer.status.anchored_at
    sealed_log.assert_complete()


async def test_the_archive_is_sealed_while_a_sink_fails_and_the_next_sealer_delivers_all_of_it(
    sealed_log: SealedLog,
) -> None:
    """Also the seals and gaps in between, which are not in Redis."""
    sink = RecordingSink()
    sealer = sealed_log.create_sealer(sinks=(sink,))
    await sealed_log.append_events("a")
    await run_until_idle(sealer)
    sink.works = False
    for id_ in "bcd":
        await sealed_log.append_events(id_, f"{id_}-there", partition=3)
        await run_until_idle(sealer)
    assert 3 <= sum(
        line.startswith(SEAL_PREFIX) for line in set(sealed_log.read_lines()) - set(sink.lines)
    )
    sealed_log.assert_complete()
    sealer._close_all()

    sink.works = True
    await sealed_log.expire_lease()
    heir = sealed_log.create_sealer(sinks=(sink,))
    await run_until_idle(heir)
    await heir.stop()

    sealed_log.assert_complete()
    assert set(sealed_log.read_lines()) == set(sink.lines)
    first_time = dict.fromkeys(sink.lines)
    assert sealed_log.read_lines() == list(first_time)


async def test_a_sink_that_hangs_delays_one_turn_and_no_further_one(
    sealed_log: SealedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that it confirms late are delivered, and not sent again."""
    monkeypatch.setattr(sink_queue, "FLUSH_TIMEOUT_SECONDS", 0.2)
    answers = asyncio.Event()

    class Slow(RecordingSink):
        async def append_lines(self, lines: Sequence[bytes]) -> None:
            await answers.wait()
            self.lines += lines

    slow, other = Slow(), RecordingSink()
    sealer = sealed_log.create_sealer(sinks=(slow, other))
    await sealed_log.append_events("a")
    await sealer.run_once()
    monkeypatch.setattr(sink_queue, "FLUSH_TIMEOUT_SECONDS", 3600)
    for id_ in "bc":
        await sealed_log.append_events(id_)
        await sealer.run_once()
    assert "sink" == sealer.status.trouble
    assert {"a", "b", "c"} <= {*sealed_log.list_event_ids()}
    assert [] == slow.lines
    assert 3 <= len(other.lines)

    answers.set()
    await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete()
    assert sealed_log.read_lines() == slow.lines == other.lines


# ------------------------------------------------------------------------------- the capacity


async def test_at_capacity_grants_are_refused_and_outcomes_are_recorded(
    script_client: ScriptClient, tmp_path: Path
) -> None:
    """R73: once the sealer has archived the entries, grants are accepted again."""
    log = SealedLog(script_client, tmp_path / "archive", maximum=20)
    with contextlib.suppress(StoreUnavailable):
        for granted in range(50):  # noqa: B007  # the number of grants
            await log.append_grant()
    _, events, refusals = get_stream_keys(log)
    before = [await run_redis_command(log, "XLEN", stream) for stream in (events, refusals)]

    for grant in (Unlocked(id="x"), Attempted(id="y")):
        with pytest.raises(StoreUnavailable):
            await log.commit_event(events=(grant,))
    with pytest.raises(StoreUnavailable):
        await log.commit_event(requires_log_capacity=True, charges=(EXHAUSTED_CHARGE,))
    assert before == [await run_redis_command(log, "XLEN", stream) for stream in (events, refusals)]
    await log.append_denial()
    await log.append_events("an outcome")
    assert [before[0] + 1, before[1] + 1] == [
        await run_redis_command(log, "XLEN", stream) for stream in (events, refusals)
    ]
    assert 1 <= await log.source.measure_fullness()

    sealer = log.create_sealer()
    await run_until_idle(sealer)
    await log.append_grant()
    await run_until_idle(sealer)
    await sealer.stop()
    log.assert_complete()
    assert 19 == granted


async def test_refusals_never_use_up_the_capacity(
    script_client: ScriptClient, tmp_path: Path
) -> None:
    """Denials and refusals have half of it, and are folded beyond that."""
    log = SealedLog(script_client, tmp_path / "archive", maximum=20)
    await log.append_grant()
    for _ in range(60):
        await log.append_denial()
    for _ in range(2):  # the limit admits the first
        await log.commit_event(
            charges=(EXHAUSTED_CHARGE,),
            event_if_refused=IssueDenied(id="r", tenant="shop", number="1:r"),
        )

    await log.append_grant()
    _, _, refusals = get_stream_keys(log)
    assert 10 == await run_redis_command(log, "XLEN", refusals)

    sealer = log.create_sealer()
    await run_until_idle(sealer)
    for log.clock_shift_ms in range(60_000, 1_200_000, 60_000):
        await log.store.flush_folds(7, secrets.token_hex(8))
        await run_until_idle(sealer)
    await sealer.stop()
    log.assert_complete()
    denials = [e for e in log.read_entries() if "denied" in e["event"]["type"]]
    assert 60 + 1 == sum(e.get("stamp", {}).get("folded", 1) for e in denials)


async def test_entries_that_are_not_archived_are_never_trimmed(
    script_client: ScriptClient, tmp_path: Path
) -> None:
    """Neither by number nor by age; archived ones are."""
    log = SealedLog(script_client, tmp_path / "archive", maximum=1000)
    await log.append_events(*map(str, range(1500)))  # outcomes may exceed the maximum
    log.clock_shift_ms = 30 * 86_400_000
    await log.append_events("late")
    _, events, _ = get_stream_keys(log)
    assert 1502 == await run_redis_command(log, "XLEN", events)
    assert -1 == await run_redis_command(log, "PTTL", events)

    sealer = log.create_sealer()
    await run_until_idle(sealer)
    log.clock_shift_ms += 30 * 86_400_000
    await log.append_events("later")
    assert await run_redis_command(log, "XLEN", events) < 1300
    await run_until_idle(sealer)
    await sealer.stop()
    log.assert_complete()


async def test_a_late_mark_changes_nothing(sealed_log: SealedLog) -> None:
    """Another sealer has read further meanwhile, or has a higher fencing token."""
    await sealed_log.append_events("a")
    (tail,) = await sealed_log.source.fetch_pending([7], count=10)
    mark = ArchivedPosition(pending=tail, from_start=False, sequence_id=(tail.epoch, 2))
    await sealed_log.source.mark_archived(5, [mark])
    await sealed_log.append_events("b")
    (now,) = await sealed_log.source.fetch_pending([7], count=10)
    newer = ArchivedPosition(pending=now, from_start=False, sequence_id=(now.epoch, 3))
    await sealed_log.source.mark_archived(4, [newer])  # of an expired lease
    assert now == replace((await sealed_log.source.fetch_pending([7], count=10))[0], now=now.now)
    await sealed_log.source.mark_archived(5, [newer])

    await sealed_log.source.mark_archived(5, [mark])

    (after,) = await sealed_log.source.fetch_pending([7], count=10)
    assert [] == after.entries


# ------------------------------------------------------------------------------- the status


async def test_the_leader_stores_its_status_in_its_lease(sealed_log: SealedLog) -> None:
    """Every process exports it as metrics."""
    sealer = sealed_log.create_sealer(seal_seconds=3600)
    await sealed_log.append_events("a")
    await run_until_idle(sealer)
    sealed_log.advance_clock(1.5)
    await sealer.run_once()

    until, body = await sealed_log.source.read_status()
    status = SealerStatus(**json.loads(body))

    assert until > 0
    assert (4, 0, "") == (status.archived, status.seal, status.trouble)
    assert status.oldest_unsealed_at > 0
