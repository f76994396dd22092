"""What a sealer archives, on each kind of Redis."""

import asyncio
import contextlib
import json
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from otp_service.audit.archive_format.entries import SEAL
from otp_service.audit.archive_format.seals import SigningKey, anchor_of
from otp_service.audit.sealer import sink_queue
from otp_service.audit.sealer.backlog import COUNT
from otp_service.audit.sealer.ports import Told
from otp_service.audit.sealer.signer import Signing
from otp_service.audit.sinks.base import SinkFailed
from otp_service.core.errors import StoreUnavailable
from otp_service.core.events import Attempted, IssueDenied, Unlocked
from otp_service.core.log_entry import Mark
from otp_service.store.client import Link
from otp_service.store.connect import connect
from tests.audit.sealed_log import FULL, Log, decoded, redis, streams, until_quiet
from tests.store import redis_servers


@pytest.fixture
def log(link: Link, tmp_path: Path) -> Log:
    """The log on each kind of Redis in turn."""
    return Log(link, tmp_path / "archive")


# ------------------------------------------------------------------------------- what is written


async def test_everything_is_archived_in_order_and_verifies(log: Log) -> None:
    """Several partitions, events and refusals, over several turns and seals."""
    sealer = log.sealer()
    for round_ in range(3):
        for partition in (0, 7, 63):
            await log.tell(f"{round_}{partition}a", f"{round_}{partition}b", partition=partition)
            await log.deny(partition)
        await until_quiet(sealer)
    await sealer.stop()

    log.check()
    assert 9 == sum(e["event"]["type"] == "otp.issue_denied" for e in log.entries())
    kinds = Counter(e["event"].get("reason") for e in log.entries())
    assert (1, 1) == (kinds["started"], kinds["stopped"])


async def test_more_than_is_read_at_once_is_archived_whole(log: Log) -> None:
    """Both streams of a partition are cut where the shorter reading ends."""
    for i in range(3 * COUNT):
        await log.tell(str(i))
        if i % 3 == 0:
            await log.deny()
    sealer = log.sealer()

    await until_quiet(sealer)
    await sealer.stop()

    log.check()
    ours = [e["event"]["id"] for e in log.entries() if e["event"]["id"] in log.told]
    assert log.told == ours


async def test_segments_end_with_a_seal_when_they_are_full_and_with_the_day(alone: Log) -> None:
    """Each names in its first seal where every partition stands."""
    sealer = alone.sealer(segment_bytes=900)
    for i in range(6):
        await alone.tell(f"a{i}", f"b{i}")
        await until_quiet(sealer)
    alone.passes(86400)
    await alone.lease_ends()
    await alone.tell("tomorrow")
    await until_quiet(sealer)
    await sealer.stop()

    alone.check()
    found = sorted(p.relative_to(alone.folder).as_posix() for p in alone.folder.glob("*/*"))
    assert 3 <= len(found)
    assert {"2025-11-22", "2025-11-23"} == {name[:10] for name in found}
    for name in found:
        lines = (alone.folder / name).read_bytes().splitlines()
        first = next(line for line in lines if line.startswith(SEAL))
        assert decoded(first)["seal"]["heads"]
        assert lines[-1].startswith(SEAL)


async def test_nothing_is_written_and_nothing_sealed_while_nothing_happens(alone: Log) -> None:
    """An archive of a quiet night is no larger in the morning."""
    sealer = alone.sealer()
    await alone.tell("a")
    await until_quiet(sealer)
    before = alone.lines()

    for _ in range(5):
        alone.passes(1)
        await sealer.turn()

    assert before == alone.lines()


# ------------------------------------------------------------------------------- gaps and forgeries


async def test_entries_that_are_gone_are_declared(log: Log) -> None:
    """Taken out of the middle, from the end, and all of them; each with the event of the gap."""
    sealer = log.sealer()
    await log.tell("a", "b", "c", "d")
    _, events, _ = streams(log)
    entries = await redis(log, "XRANGE", events, "-", "+")
    await redis(log, "XDEL", events, entries[2][0], entries[4][0])
    log.told = ["a", "c"]
    await until_quiet(sealer)
    await log.tell("e")
    await redis(log, "DEL", events)
    log.told = ["a", "c"]
    await until_quiet(sealer)
    await log.tell("f")
    await until_quiet(sealer)
    await sealer.stop()

    log.check(gaps=3)
    assert [(3, 3), (5, 5), (6, 6)] == [(gap["first"], gap["last"]) for gap in log.gaps()]
    told = [e["event"] for e in log.entries() if e["event"].get("reason") == "gap"]
    assert 3 == sum(event["missing"] for event in told)


async def test_what_was_trimmed_before_there_was_an_archive_is_declared(alone: Log) -> None:
    """The archive begins where Redis begins."""
    await alone.tell(*map(str, range(300)))
    _, events, _ = streams(alone)
    await redis(alone, "XTRIM", events, "MAXLEN", 100)
    alone.told = alone.told[-100:]
    sealer = alone.sealer()

    await until_quiet(sealer)
    await sealer.stop()

    alone.check(gaps=1)
    assert (1, 201) == (alone.gaps()[0]["first"], alone.gaps()[0]["last"])


async def test_an_entry_that_no_worker_signed_is_archived_as_such(alone: Log) -> None:
    """R72: whoever writes to Redis is seen."""
    await alone.tell("a")
    name, events, _ = streams(alone)
    epoch, seq, ms = await redis(alone, "HMGET", name, "epoch", "seq", "ms")
    forged = b"%d-%d" % (int(ms), int(seq) + 1)
    await redis(
        alone, "XADD", events, forged, "event", '{"id":"x"}', "mac", "t1:00", "epoch", epoch
    )
    await redis(alone, "HSET", name, "seq", int(seq) + 1)
    sealer = alone.sealer()

    await until_quiet(sealer)
    await sealer.stop()

    alone.check()
    failed = [e["event"]["id"] for e in alone.entries() if e.get("integrity") == "failed"]
    assert ["x"] == failed
    assert 1 == sealer.told.failed


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("at", ["9999999999999-1", "{ms}-{far}"])
async def test_entries_of_the_future_hide_nothing_that_comes_after_them(
    alone: Log, stream: int, at: str
) -> None:
    """Appended by somebody else beyond what the log has given out: they are none of it."""
    await alone.tell("a")
    names = streams(alone)
    epoch, seq, ms = await redis(alone, "HMGET", names[0], "epoch", "seq", "ms")
    id_ = at.format(ms=ms.decode(), far=int(seq) + 1_000_000)
    added = ("event", '{"id":"x"}', "mac", "t1:00", "epoch", epoch)
    await redis(alone, "XADD", names[stream], id_, *added)
    sealer = alone.sealer()
    await until_quiet(sealer)
    await asyncio.sleep(0.002)  # so that the next one is of another millisecond
    if stream == 2 or not at.startswith("9"):  # else nobody can append to the events any more
        await alone.tell("b")
    await until_quiet(sealer)
    await sealer.stop()

    alone.check()


# ------------------------------------------------------------------------------- epochs


async def test_a_restart_of_redis_begins_an_epoch_in_the_archive(tmp_path: Path) -> None:
    """Also where the sealer was not there to see it."""
    told: list[str] = []
    for round_ in range(3):
        with redis_servers.start_server(tmp_path / "redis") as server:
            async with Link(connect(url=server.url, timeout=5000)) as link:
                log = Log(link, tmp_path / "archive")
                log.told = told
                await log.tell(f"a{round_}", f"b{round_}")
                if round_ != 1:
                    sealer = log.sealer()
                    await until_quiet(sealer)
                    await sealer.stop()

    log.check()
    assert 3 == len({e["id"].split("-")[1] for e in log.entries() if e["id"].startswith("07")})


async def test_a_fault_of_ours_does_not_end_it(alone: Log) -> None:
    """Whatever it is: the next turn begins with what is on the disk."""
    sealer = alone.sealer()
    await alone.tell("a")
    real = alone.source.mark
    alone.source.mark = None  # type: ignore[assignment,method-assign]
    assert not await sealer.turn()
    alone.source.mark = real  # type: ignore[method-assign]
    await alone.tell("b")
    await until_quiet(sealer)
    await sealer.stop()

    alone.check()


async def test_an_epoch_that_counts_lower_than_one_that_was_lost_is_archived_too(
    alone: Log,
) -> None:
    """The lost one may have been begun by a clock that was ahead; what is told again is known."""
    name, events, _ = streams(alone)
    await alone.tell("a")
    dump = [(key, await redis(alone, "DUMP", key)) for key in (name, events)]
    sealer = alone.sealer(segment_bytes=1)
    await until_quiet(sealer)
    alone.shift = 60_000
    await redis(alone, "HSET", name, "server", "another")
    await alone.tell("b")
    await until_quiet(sealer)
    for key, value in dump:  # as a replica has it that was not told of b
        await redis(alone, "RESTORE", key, 0, value, "REPLACE")
    alone.shift = 0
    await redis(alone, "HSET", name, "server", "a third one")
    await sealer.stop()
    await alone.tell("c")
    heir = alone.sealer()
    await until_quiet(heir)
    await heir.stop()

    alone.check()
    assert 3 == len({e["id"].split("-")[1] for e in alone.entries() if e["id"].startswith("07")})


# ------------------------------------------------------------------------------- several


async def test_another_sealer_takes_over_when_the_lease_is_over(alone: Log) -> None:
    """And not before; the fence grows."""
    one, other = alone.sealer(), alone.sealer()
    await alone.tell("a")
    await until_quiet(one)
    await other.turn()
    assert (True, False) == (one.leads, other.leads)

    alone.passes()
    await alone.lease_ends()
    await alone.tell("b")
    await until_quiet(other)
    await one.turn()
    await alone.tell("c")
    await until_quiet(one)

    assert (False, True) == (one.leads, other.leads)
    await until_quiet(other)
    await other.stop()
    alone.check()
    fences = [decoded(line)["seal"]["fence"] for line in alone.lines() if line.startswith(SEAL)]
    assert sorted(fences) == fences
    assert [1, 2] == sorted(set(fences))


async def test_who_still_thinks_that_he_leads_writes_nothing(alone: Log) -> None:
    """His clock has stood still; the folder knows better."""
    one, other = alone.sealer(clock=lambda: 0.0), alone.sealer()
    await alone.tell("a")
    await until_quiet(one)
    await alone.lease_ends()
    await until_quiet(other)
    before = alone.lines()

    one._lease._renew_at = 10.0
    await alone.tell("b")
    await one.turn()

    assert before == alone.lines()
    assert not one.leads
    await until_quiet(other)
    await other.stop()
    alone.check()


async def test_fences_grow_although_redis_has_lost_them(alone: Log) -> None:
    """The folder has kept the last one."""
    for round_ in range(3):
        sealer = alone.sealer()
        await alone.tell(f"a{round_}")
        await until_quiet(sealer)
        await sealer.stop()
        await redis(alone, "DEL", alone.store.names.sealer())
        if round_ == 1:
            (alone.folder / "lock").unlink()

    fences = [decoded(line)["seal"]["fence"] for line in alone.lines() if line.startswith(SEAL)]
    assert [1, 2, 3] == sorted(set(fences))
    alone.check()


async def test_a_folder_that_has_less_than_another_one_had_gets_all_there_is(
    alone: Log, tmp_path: Path
) -> None:
    """A new folder, or one of another machine: what Redis still has is in both."""
    for name in ("one", "two", "one"):
        alone.folder = tmp_path / name
        await alone.tell(secrets.token_hex(4), secrets.token_hex(4))
        sealer = alone.sealer()
        await until_quiet(sealer)
        await sealer.stop()

    alone.check()
    alone.folder = tmp_path / "two"
    alone.told = alone.told[:4]
    alone.check()


# ------------------------------------------------------------------------------- keys


async def test_without_the_key_before_nothing_is_sealed(alone: Log) -> None:
    """A key that comes from nowhere would end the chain."""
    old = alone.sealer()
    await alone.tell("a")
    await until_quiet(old)
    await old.stop()

    other = alone.sealer(signing=Signing(SigningKey.new()))
    await until_quiet(other)

    assert "damaged" == other.told.trouble
    alone.check()


# ------------------------------------------------------------------------------- other sinks


class Elsewhere:
    """A sink that takes lines, or does not."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.works = True

    async def append(self, lines: Sequence[bytes]) -> None:
        """Take them."""
        if not self.works:
            raise SinkFailed("it is away")
        self.lines += lines


async def test_a_sink_gets_every_line_though_it_was_away(alone: Log) -> None:
    """And what was told meanwhile stays in Redis."""
    sink, other = Elsewhere(), Elsewhere()
    sealer = alone.sealer(sinks=(other, sink))
    await alone.tell("a")
    await until_quiet(sealer)
    sink.works = False
    await alone.tell("b")
    await until_quiet(sealer)
    name, *_ = streams(alone)
    assert b"1" == await redis(alone, "HGET", name, "waiting")
    assert "sink" == sealer.told.trouble
    sink.works = True
    await alone.tell("c")
    await until_quiet(sealer)
    await sealer.stop()

    alone.check()
    assert alone.lines() == sink.lines
    assert Counter(alone.lines()) == Counter(other.lines)


async def test_what_a_dead_sealer_kept_from_a_sink_the_next_one_gives_it(alone: Log) -> None:
    """At least once: ids make repeats harmless."""
    sink = Elsewhere()
    sink.works = False
    dead = alone.sealer(sinks=(sink,))
    await alone.tell("a", "b")
    await until_quiet(dead)
    dead._folder.close()
    sink.works = True
    await alone.lease_ends()
    heir = alone.sealer(sinks=(sink,))
    await until_quiet(heir)
    await heir.stop()

    assert set(alone.lines()) == set(sink.lines)


async def test_each_seal_is_given_to_the_anchors(alone: Log) -> None:
    """After it is on the disk."""
    sink = Elsewhere()
    sealer = alone.sealer(anchors=(sink,))
    for id_ in "abc":
        await alone.tell(id_)
        await until_quiet(sealer)
    await sealer.stop()

    seals = [line for line in alone.lines() if line.startswith(SEAL)]
    assert 3 <= len(seals)
    assert [str(anchor_of(line)).encode() for line in seals] == sink.lines
    assert sealer.told.anchored_at


async def test_anchors_that_are_not_kept_hold_up_nothing_and_the_newest_comes_in_the_end(
    alone: Log,
) -> None:
    """It holds all before it; when one was kept last is told, for an alert."""
    sink = Elsewhere()
    sink.works = False
    sealer = alone.sealer(anchors=(sink,))
    for id_ in "abc":
        await alone.tell(id_)
        await until_quiet(sealer)
    assert (0, "") == (sealer.told.anchored_at, sealer.told.trouble)
    seals = [line for line in alone.lines() if line.startswith(SEAL)]
    sink.works = True
    await until_quiet(sealer)

    assert [str(anchor_of(seals[-1])).encode()] == sink.lines
    assert sealer.told.anchored_at
    alone.check()


async def test_the_archive_is_sealed_while_a_sink_is_away_and_the_heir_gives_it_all_of_that(
    alone: Log,
) -> None:
    """Also the seals and gaps between, which are not in Redis."""
    sink = Elsewhere()
    sealer = alone.sealer(sinks=(sink,))
    await alone.tell("a")
    await until_quiet(sealer)
    sink.works = False
    for id_ in "bcd":
        await alone.tell(id_, f"{id_}-there", partition=3)
        await until_quiet(sealer)
    assert 3 <= sum(line.startswith(SEAL) for line in set(alone.lines()) - set(sink.lines))
    alone.check()
    sealer._close()

    sink.works = True
    await alone.lease_ends()
    heir = alone.sealer(sinks=(sink,))
    await until_quiet(heir)
    await heir.stop()

    alone.check()
    assert set(alone.lines()) == set(sink.lines)
    first_time = dict.fromkeys(sink.lines)
    assert alone.lines() == list(first_time)


async def test_a_sink_that_hangs_is_waited_for_once_and_then_holds_up_no_turn(
    alone: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it comes to have late counts, and is not given again."""
    monkeypatch.setattr(sink_queue, "PATIENCE", 0.2)
    answers = asyncio.Event()

    class Slow(Elsewhere):
        async def append(self, lines: Sequence[bytes]) -> None:
            await answers.wait()
            self.lines += lines

    slow, other = Slow(), Elsewhere()
    sealer = alone.sealer(sinks=(slow, other))
    await alone.tell("a")
    await sealer.turn()
    monkeypatch.setattr(sink_queue, "PATIENCE", 3600)
    for id_ in "bc":
        await alone.tell(id_)
        await sealer.turn()
    assert "sink" == sealer.told.trouble
    assert {"a", "b", "c"} <= {*alone.ids()}
    assert [] == slow.lines
    assert 3 <= len(other.lines)

    answers.set()
    await until_quiet(sealer)
    await sealer.stop()

    alone.check()
    assert alone.lines() == slow.lines == other.lines


# ------------------------------------------------------------------------------- the bound


async def test_at_the_bound_grants_are_refused_and_all_else_goes_on(
    link: Link, tmp_path: Path
) -> None:
    """R73; and after the sealer has been there, all goes on by itself."""
    log = Log(link, tmp_path / "archive", maximum=20)
    with contextlib.suppress(StoreUnavailable):
        for granted in range(50):  # noqa: B007  # how many there were
            await log.grant()
    _, events, refusals = streams(log)
    before = [await redis(log, "XLEN", stream) for stream in (events, refusals)]

    for grant in (Unlocked(id="x"), Attempted(id="y")):
        with pytest.raises(StoreUnavailable):
            await log.commit(events=(grant,))
    with pytest.raises(StoreUnavailable):
        await log.commit(grants=True, charges=(FULL,))
    assert before == [await redis(log, "XLEN", stream) for stream in (events, refusals)]
    await log.deny()
    await log.tell("an outcome")
    assert [before[0] + 1, before[1] + 1] == [
        await redis(log, "XLEN", stream) for stream in (events, refusals)
    ]
    assert 1 <= await log.source.fullest()

    sealer = log.sealer()
    await until_quiet(sealer)
    await log.grant()
    await until_quiet(sealer)
    await sealer.stop()
    log.check()
    assert 19 == granted


async def test_no_number_of_refusals_comes_near_the_bound(link: Link, tmp_path: Path) -> None:
    """Denials and refusals keep their half, and are counted beyond it."""
    log = Log(link, tmp_path / "archive", maximum=20)
    await log.grant()
    for _ in range(60):
        await log.deny()
    await log.commit(charges=(FULL,), refusal=IssueDenied(id="r", tenant="shop", number="1:r"))

    await log.grant()
    _, _, refusals = streams(log)
    assert 10 == await redis(log, "XLEN", refusals)

    sealer = log.sealer()
    await until_quiet(sealer)
    await log.deny()
    await until_quiet(sealer)
    await sealer.stop()
    log.check()
    stamps = [e["stamp"] for e in log.entries() if "stamp" in e]
    assert 50 <= max(stamp.get("unrecorded", 0) for stamp in stamps)


async def test_what_is_not_archived_is_never_trimmed(link: Link, tmp_path: Path) -> None:
    """Neither by number nor by age; what is goes as it did."""
    log = Log(link, tmp_path / "archive", maximum=1000)
    await log.tell(*map(str, range(1500)))  # outcomes may go beyond
    log.shift = 30 * 86_400_000
    await log.tell("late")
    _, events, _ = streams(log)
    assert 1502 == await redis(log, "XLEN", events)
    assert -1 == await redis(log, "PTTL", events)

    sealer = log.sealer()
    await until_quiet(sealer)
    log.shift += 30 * 86_400_000
    await log.tell("later")
    assert await redis(log, "XLEN", events) < 1300
    await until_quiet(sealer)
    await sealer.stop()
    log.check()


async def test_a_mark_that_is_late_moves_nothing(alone: Log) -> None:
    """Somebody else has read on meanwhile, or has a higher fence."""
    await alone.tell("a")
    (tail,) = await alone.source.tails([7], count=10)
    mark = Mark(tail=tail, anew=False, place=(tail.epoch, 2))
    await alone.source.mark(5, [mark])
    await alone.tell("b")
    (now,) = await alone.source.tails([7], count=10)
    newer = Mark(tail=now, anew=False, place=(now.epoch, 3))
    await alone.source.mark(4, [newer])  # of a lease that is over
    assert now == replace((await alone.source.tails([7], count=10))[0], now=now.now)
    await alone.source.mark(5, [newer])

    await alone.source.mark(5, [mark])

    (after,) = await alone.source.tails([7], count=10)
    assert [] == after.entries


# ------------------------------------------------------------------------------- what is told


async def test_who_leads_tells_how_it_goes(alone: Log) -> None:
    """For the metrics, of whoever looks."""
    sealer = alone.sealer(seal_seconds=3600)
    await alone.tell("a")
    await until_quiet(sealer)
    alone.passes(1.5)
    await sealer.turn()

    until, said = await alone.source.told()
    told = Told(**json.loads(said))

    assert until > 0
    assert (4, 0, "") == (told.archived, told.seal, told.trouble)
    assert told.unsealed > 0
