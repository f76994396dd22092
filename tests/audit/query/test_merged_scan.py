"""Archive and Redis as one log: each event once, newest first, whatever is archived meanwhile."""

import asyncio
import itertools
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.entries import Gap, encode_entry
from otp_service.audit.query import archive_scan
from otp_service.audit.query.archive_scan import ArchiveReader
from otp_service.audit.query.merged_scan import PageBudget
from otp_service.audit.query.reader import EventReader
from otp_service.audit.query.stream_scan import MAX_POSITION
from otp_service.core.errors import InvalidRequest
from otp_service.core.keys import Key, KeyRing
from otp_service.core.log_entry import (
    Entry,
    StreamPosition,
)
from otp_service.core.phone_number import parse_number
from otp_service.core.timestamps import format_rfc3339
from otp_service.store.client import ScriptClient
from otp_service.store.event_streams import RedisEventStreams
from tests.audit import archive_builder
from tests.audit.query.test_reader import (
    PHONE,
    RING,
    Memory,
    all_pages,
    places,
    pseudonym_of,
    reader_of,
)
from tests.installation import Installation


HOUR = 3600_000


class Sealed:
    """The archive that a sealer has written of a log until now, in the real format."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = archive_builder.ArchiveBuilder(folder)
        self.done: dict[int, StreamPosition] = {}

    def copy(self, entries: list[Entry], most: int = 2**31, step: int = 1) -> None:
        """Archive the oldest ones that are not there yet, of every `step`-th partition; seal them."""
        new = [e for e in entries if not self.keeps(e) and e.partition % step == 0]
        for entry in sorted(new, key=lambda e: (e.position.at, e.partition, e.position))[:most]:
            self.done[entry.partition] = entry.position
            self.written.now = entry.position.at
            sequences = [entry.position.sequence] * 2
            line = encode_entry(entry, has_valid_mac=entry.mac == "ok")
            self.written.append_line(line, Gap(entry.partition, entry.epoch, *sequences))
        self.written.append_seal()

    def keeps(self, entry: Entry) -> bool:
        """Return whether the archive contains the entry."""
        return entry.position <= self.done.get(entry.partition, StreamPosition(0, 0))


def everything(memory: Memory) -> list[Entry]:
    return [entry for log in memory.entries.values() for entry in log]


def trim(memory: Memory, sealed: Sealed, share: float) -> None:
    """Let Redis forget some of what is archived: the oldest, and of refusals sooner than of others."""
    for partition, log in memory.entries.items():
        kept = [e for e in log if sealed.keeps(e)]
        gone = set(kept[: int(len(kept) * share)]) | set(kept[: int(len(kept) * share * 1.5)][::2])
        memory.entries[partition] = [e for e in log if e not in gone]


def telling(memory: Memory, partition: int, at: int, **fields: object) -> None:
    """Append an event, whose sequence goes on after what was trimmed."""
    counted = vars(memory).setdefault("counted", {})
    counted[partition] = counted.get(partition, 0) + 1
    memory.tell(partition, at, **fields)
    last = memory.entries[partition][-1]
    place = StreamPosition(last.position.at, counted[partition])
    memory.entries[partition][-1] = msgspec.structs.replace(last, position=place)


logs = st.lists(st.tuples(st.integers(0, 63), st.integers(1, 40)), max_size=60)
shares = st.floats(0, 1)


class Paging(NamedTuple):
    """How a log is archived, trimmed and read."""

    limit: int
    scanned: int
    copied: int
    """Entries that are archived before the first page."""
    speed: int
    """Entries that are archived between two pages."""
    step: int
    """Whose they are: those of each partition, or of every other."""
    trimmed: float


pagings = st.builds(
    Paging,
    st.integers(1, 20),
    st.integers(1, 30),
    st.integers(0, 60),
    st.sampled_from([1, 5, 100]),
    st.integers(1, 2),
    shares,
)


@settings(max_examples=100, deadline=None)
@given(logs, logs, pagings)
def test_pages_hold_everything_once_while_events_come_and_are_archived_and_trimmed(
    before, meanwhile, paging
):
    """This holds across the border of archive and Redis, wherever it is and however it moves."""
    memory = Memory()
    for partition, at in sorted(before, key=lambda told: told[1]):
        telling(memory, partition, at)
    expected = [(e.position.at, e.partition, e.position.sequence) for e in everything(memory)]
    arriving = iter(meanwhile)

    async def read(sealed: Sealed) -> list[tuple]:
        bounds = PageBudget(paging.scanned, 3)
        reader = reader_of(memory, archive=ArchiveReader(sealed.folder), budget=bounds)
        found, cursor, pages = [], None, 0
        while cursor is not None or pages == 0:
            page, cursor = await reader.read_page(limit=paging.limit, cursor=cursor)
            found += page
            pages += 1
            for partition, at in itertools.islice(arriving, 2):
                telling(memory, partition, 40 + at)
            sealed.copy(everything(memory), paging.speed, paging.step)
            trim(memory, sealed, paging.trimmed)
            assert pages < 500
        return places(found)

    with tempfile.TemporaryDirectory() as folder:
        sealed = Sealed(Path(folder))
        sealed.copy(everything(memory), paging.copied, paging.step)
        trim(memory, sealed, paging.trimmed)
        found = asyncio.run(read(sealed))

    shown = [(format_rfc3339(at), partition, sequence) for at, partition, sequence in expected]
    assert sorted(shown, reverse=True) == found


@settings(max_examples=30, deadline=None)
@given(logs, st.integers(0, 50), st.integers(0, 50), st.integers(0, 60))
def test_since_and_until_hold_in_both(log, since, until, copied):
    """Half-open, as without an archive."""
    memory = Memory()
    for partition, at in sorted(log, key=lambda told: told[1]):
        telling(memory, partition, at)
    with tempfile.TemporaryDirectory() as folder:
        sealed = Sealed(Path(folder))
        sealed.copy(everything(memory), most=copied)
        expected = [e.position.at for e in everything(memory) if since <= e.position.at < until]
        trim(memory, sealed, 0.5)
        reader = reader_of(memory, archive=ArchiveReader(sealed.folder))
        pages = asyncio.run(all_pages(reader, since=since, until=until, limit=7))

    assert sorted(map(format_rfc3339, expected), reverse=True) == [
        e["at"] for p in pages for e in p
    ]


# ------------------------------------------------------------------------------------ an archive


@pytest.fixture
def archive(tmp_path) -> archive_builder.ArchiveBuilder:
    """An empty archive in the real format, to which tests append events."""
    return archive_builder.ArchiveBuilder(tmp_path / "archive")


def of(archive: archive_builder.ArchiveBuilder, **options) -> EventReader:
    return reader_of(Memory(), archive=ArchiveReader(archive.folder), **options)


async def test_an_event_looks_the_same_wherever_it_stands(tmp_path):
    """A reader of pages needs no knowledge of the archive."""
    memory, sealed = Memory(), Sealed(tmp_path)
    memory.tell(7, HOUR, tenant="shop", reason="a\nb")
    memory.entries[7][0] = msgspec.structs.replace(
        memory.entries[7][0], stamp=b'{"folded":5,"first":1,"last":2}'
    )
    live, _ = await reader_of(memory).read_page()
    sealed.copy(everything(memory))

    kept, _ = await reader_of(Memory(), archive=ArchiveReader(tmp_path)).read_page()

    assert live == kept


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"type": "otp.sent"}, {2}),
        ({"tenant": "bank"}, {3}),
        ({"challenge": "c01-" + "0" * 32}, {4}),
        ({"client_ip": "203.0.113.9"}, {5}),
        ({"number": PHONE}, {6}),
        ({"client_ip": "203.0.113.9", "tenant": "bank"}, set()),
        ({"type": "otp.sen"}, set()),
        ({"type": "otp.sent,otp.rejected"}, {2, 9}),
        ({"pseudonym": pseudonym_of(PHONE)}, {6, 7}),
        ({"pseudonym": "p1:prefix"}, {8}),
        ({"client_ip_changed": True}, {9}),
        ({"client_ip_changed": False}, {10}),
        ({"event_reason": "mismatch"}, {9}),
        ({"event_reason": "bank"}, {1}),
        ({"country": "LT"}, {11}),
        ({"provider": "otp.sent"}, {11}),
    ],
)
async def test_every_filter_finds_what_it_names_in_an_archive(archive, asked, expected):
    """It finds nothing else: each value also occurs in another field, with another meaning."""
    for fields in (
        {"purpose": "otp.sent", "reason": "bank", "account": "203.0.113.9"},
        {"type": "otp.sent"},
        {"tenant": "bank"},
        {"challenge": "c01-" + "0" * 32},
        {"client_ip": "203.0.113.9"},
        {"number": pseudonym_of(PHONE)},
        {"account": pseudonym_of(PHONE), "request": "c01-" + "0" * 32},
        {"prefix": "p1:prefix", "key_id": "LT"},
        {"type": "otp.rejected", "client_ip_changed": True, "reason": "mismatch"},
        {"client_ip_changed": False, "purpose": "mismatch"},
        {"country": "LT", "provider": "otp.sent", "request": "p1:prefix"},
    ):
        archive.add_event(1, **fields)
    archive.append_seal()

    found, following = await of(archive).read_page(**asked)

    assert expected == {event["sequence"] for event in found}
    assert following is None


async def test_a_tenant_finds_no_other_ones_events_in_an_archive(archive):
    """R55. Seen to fail where lines are only glanced at."""
    for tenant in ("shop", "bank", "shopping", None):
        archive.add_event(1, tenant=tenant, purpose="shop", reason='","tenant":"shop')
    archive.append_seal()

    found, _ = await of(archive).read_page(tenant="shop")

    assert [1] == [event["sequence"] for event in found]


async def test_a_number_is_found_under_every_key_that_named_it_also_in_an_archive(archive):
    """Retired pseudonym keys are kept for this; a retired limit key leaves another partition."""
    older, newer = RING.current, Key("2", bytes(range(32)))
    for partition, key in ((56, older), (56, newer), (3, older)):
        archive.add_event(partition, number=key.derive_pseudonym("number", PHONE.canonical))
    archive.add_event(
        56, number=newer.derive_pseudonym("number", parse_number("+447400123356").canonical)
    )
    archive.append_seal()
    reader = EventReader(
        Memory(),
        partitions_of=lambda _: {56},
        ring=KeyRing((newer, older)),
        verify_mac=lambda *_: True,
        archive=ArchiveReader(archive.folder),
    )

    found = [event for page in await all_pages(reader, number=PHONE, limit=1) for event in page]

    assert [(3, 1), (56, 2), (56, 1)] == [(e["partition"], e["sequence"]) for e in found]


async def test_a_page_ends_after_so_many_blocks_and_goes_on_there(archive, monkeypatch):
    """A filter that finds little takes many pages, and none of them long."""
    monkeypatch.setattr(segments, "READ_BLOCK_BYTES", 4096)
    archive.add_event(1, challenge="c01-" + "0" * 32)
    for n in range(300):
        archive.add_event(n % 5)
    archive.start_segment()
    for n in range(300):
        archive.add_event(n % 5)
    archive.append_seal()

    pages = await all_pages(
        of(archive, budget=PageBudget(blocks=5, seconds=0)), challenge="c01-" + "0" * 32
    )

    assert 3 < len(pages) < 40
    assert [1] == [event["sequence"] for page in pages for event in page]


async def test_lines_longer_than_a_block_are_read_whole(archive, monkeypatch):
    """An attacker who can write to Redis can cause long lines to be archived."""
    monkeypatch.setattr(segments, "READ_BLOCK_BYTES", 100)
    for n in range(10):
        archive.add_event(1, reason="x" * 50 * n)
    archive.append_seal()

    found, _ = await of(archive, budget=PageBudget(blocks=10_000)).read_page()

    assert [*range(10, 0, -1)] == [event["sequence"] for event in found]


async def test_of_redis_only_what_the_archive_lacks_is_read(tmp_path):
    """Seven days of events are stored in both; pages from the archive send Redis no query."""
    memory, sealed = Memory(), Sealed(tmp_path)
    for n in range(5000):
        memory.tell(n % 64, n)
    sealed.copy(everything(memory))
    memory.tell(1, 6000)
    reader = reader_of(memory, archive=ArchiveReader(tmp_path))

    first, cursor = await reader.read_page(limit=50)
    asked = sum(memory.asked)
    second, _ = await reader.read_page(limit=50, cursor=cursor)

    assert [[1, 7], [22, 21]] == [[e["partition"] for e in page[:2]] for page in (first, second)]
    assert asked <= 64 * 4
    assert asked == sum(memory.asked)


@pytest.mark.parametrize("epoch", [0, 1])
async def test_what_looks_archived_hides_nothing_that_is_not(tmp_path, epoch):
    """Seen to fail where its place alone is looked at: Redis can be written to by others."""
    memory, sealed = Memory(), Sealed(tmp_path)
    for at in (1, 2):
        memory.tell(5, at)
    sealed.copy(everything(memory))
    memory.tell(5, 3)
    genuine = memory.entries[5][-1]
    forged = msgspec.structs.replace(genuine, position=StreamPosition(9, 1), epoch=epoch, mac="")
    memory.entries[5].append(forged)

    found, _ = await reader_of(memory, archive=ArchiveReader(tmp_path)).read_page()

    assert [(1, "failed"), (3, "ok"), (2, "ok"), (1, "ok")] == [
        (event["sequence"], event["integrity"]) for event in found
    ]


async def test_a_line_that_is_being_written_is_not_there_yet(archive):
    """The next scan reads it whole."""
    archive.add_event(1)
    archive.append_seal()
    archive.add_event(1)
    path = archive.segment
    whole = path.read_bytes()
    reader = of(archive)

    path.write_bytes(whole[:-20])
    before, _ = await reader.read_page()
    path.write_bytes(whole)
    after, _ = await reader.read_page()

    assert ([1], [2, 1]) == tuple([e["sequence"] for e in found] for found in (before, after))


async def test_what_is_no_line_is_counted_and_left_out(archive):
    """Verification reports the damage to the archive; the search continues."""
    archive.add_event(1)
    for line in (b"", b"garbage", b'{"id":"1","at":"x"}', b"\xff\xfe", b'{"seal":', b'{"gap":'):
        with archive.segment.open("ab") as file:
            file.write(line + b"\n")
    archive.add_event(1)
    kept = ArchiveReader(archive.folder)

    found, following = await reader_of(Memory(), archive=kept).read_page()

    assert [2, 1] == [event["sequence"] for event in found]
    assert following is None
    assert kept.unreadable_lines >= 4


async def test_what_a_retired_key_has_signed_is_vouched_for_by_the_archive(archive):
    """The sealer checked the MAC while the key existed; the reader checks it as long as it exists."""
    archive.add_event(1)
    archive.add_event(1, is_ours=False)
    archive.append_seal()
    kept = ArchiveReader(archive.folder)

    def shown(**options) -> list[str]:
        reader = EventReader(
            Memory(), partitions_of=lambda _: {1}, ring=RING, archive=kept, **options
        )
        found, _ = asyncio.run(reader.read_page())
        return [event["integrity"] for event in found]

    known = await asyncio.to_thread(shown, verify_mac=lambda *_: False, has_mac_key=lambda _: True)
    gone = await asyncio.to_thread(shown, verify_mac=lambda *_: False, has_mac_key=lambda _: False)
    trusted = await asyncio.to_thread(shown, verify_mac=lambda *_: True, has_mac_key=lambda _: True)

    assert (["failed", "failed"], ["failed", "ok"]) == (known, gone)
    assert ["ok", "ok"] == trusted


async def test_a_folder_that_is_not_there_is_an_archive_with_nothing_in_it(tmp_path):
    """The first event is appended before the first segment exists."""
    memory = Memory()
    memory.tell(3, 5)

    found, following = await reader_of(memory, archive=ArchiveReader(tmp_path / "none")).read_page()

    assert ([3], None) == ([event["partition"] for event in found], following)


async def test_a_cursor_into_an_archive_is_refused_where_there_is_none(archive):
    """An empty page would wrongly report the end of the log."""
    for _ in range(3):
        archive.add_event(1)
    archive.append_seal()
    _, cursor = await of(archive).read_page(limit=1)

    with pytest.raises(InvalidRequest):
        await reader_of(Memory()).read_page(limit=1, cursor=cursor)


async def test_segments_before_and_after_the_time_are_not_read(archive, monkeypatch):
    """A year of segments is not gone through for one hour."""
    for _ in range(5):
        archive.add_event(1)
        archive.append_seal()
        archive.start_segment(days=1)
    read: list[str] = []
    blocks = archive_scan.iterate_blocks_backward

    def noted(segment, end):
        read.append(segment.parent.name)
        return blocks(segment, end)

    monkeypatch.setattr(archive_scan, "iterate_blocks_backward", noted)
    third = archive_builder.START_MS + 2 * 24 * HOUR

    found, _ = await of(archive).read_page(since=third, until=third + HOUR)

    assert [3] == [event["sequence"] for event in found]
    assert ["2025-11-26", "2025-11-25"] == read, "the second is where it is seen to be too early"


# -------------------------------------------------------------------------------- on real streams


async def test_what_redis_has_forgotten_is_found_in_the_archive(
    script_client: ScriptClient, tmp_path
):
    """One server, Redis 7, and a cluster: the border is where the archive ends."""
    world, sealed = Installation(script_client), Sealed(tmp_path)
    streams = RedisEventStreams(script_client, world.store.key_names)
    for _ in range(3):
        stored = await world.issue("+447400123456")
        await world.verify(stored, world.router.extract_code())
        world.advance_clock(60_000)
    told = await streams.fetch_newest(dict.fromkeys(range(64), MAX_POSITION), since=0, count=100)
    entries = [entry for log in told.values() for entry in log]
    sealed.copy([msgspec.structs.replace(entry, mac="ok") for entry in entries])
    partition = world.store.get_number_partition(PHONE.canonical)
    for stream in world.store.key_names.event_log_keys(partition)[1:3]:
        await script_client.run_pipeline(stream, [("XTRIM", stream, "MAXLEN", 5)])
    await world.issue("+447400123456", client_ip="203.0.113.9")
    reader = EventReader(
        streams,
        partitions_of=world.store.list_number_partitions,
        ring=world.keys.pseudonym,
        verify_mac=world.store.cipher.verify_event,
        has_mac_key=lambda mac: mac != "ok",
        archive=ArchiveReader(tmp_path),
    )

    pages = await all_pages(reader, number=PHONE, limit=3)

    found = [event for page in pages for event in page]
    assert [*range(15, 1, -1)] == [event["sequence"] for event in found]
    assert {"ok"} == {event["integrity"] for event in found}
