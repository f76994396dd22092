"""Entries that an attacker writes to Redis or the archive folder to make the log unreadable (A10)."""

import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path
from time import perf_counter, process_time

import msgspec
import pytest

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.entries import encode_entry
from otp_service.audit.archive_format.segments import list_foreign_files
from otp_service.audit.event_decoder import decode_event
from otp_service.audit.exports import EXPORT_FORMATS, export_line
from otp_service.audit.query import archive_scan
from otp_service.audit.query.archive_scan import ArchiveReader
from otp_service.audit.reports.event_record import build_event_record
from otp_service.core.log_entry import Entry, StreamPosition
from otp_service.core.timestamps import parse_rfc3339
from otp_service.store.event_streams import parse_entry
from tests.audit import archive_builder
from tests.audit.archive_builder import EPOCH, START_MS, build_standard_archive
from tests.audit.archive_edits import verify_archive
from tests.audit.query.test_reader import Memory, reader_of


def nested(depth: int) -> bytes:
    """Return an object that is nested too deep for any decoder."""
    return b'{"type":"otp.issued","tenant":"shop","x":' + b"[" * depth + b"]" * depth + b"}"


def entry(event: bytes, stamp: bytes = b"", mac: str = "ok", sequence: int = 1) -> Entry:
    return Entry(
        partition=7,
        position=StreamPosition(START_MS, sequence),
        epoch=EPOCH,
        event=event,
        mac=mac,
        stamp=stamp,
    )


# ----------------------------------------------------------------------------- what Redis holds


@pytest.mark.parametrize("depth", [400, 900, 100_000])
@pytest.mark.parametrize("filters", [{}, {"tenant": "shop"}])
async def test_an_event_that_nests_too_deep_is_unreadable_and_hides_no_other(depth, filters):
    """An attacker who can write to Redis cannot hide an event from a reader."""
    memory = Memory()
    memory.tell(7, 1, tenant="shop")
    place = StreamPosition(2, 2)
    memory.entries[7].append(
        Entry(
            partition=7, position=place, epoch=1, event=nested(depth), mac="x", stamp=nested(depth)
        )
    )

    page, _ = await reader_of(memory).read_page(**filters)

    read = [(event["type"], event["integrity"]) for event in page]
    assert [("unreadable", "failed")] * (not filters) + [("otp.issued", "ok")] == read
    assert msgspec.json.encode(page)


@pytest.mark.parametrize("depth", [400, 900, 100_000])
def test_an_event_that_nests_too_deep_is_counted_exported_and_archived_as_what_it_is(depth):
    """R70: if the sealer failed at it, grants would end as well (R73)."""
    forged = entry(nested(depth), stamp=nested(depth))

    line = encode_entry(forged, has_valid_mac=False)

    assert build_event_record(decode_event(forged, has_valid_mac=True)) is None
    assert b'"type":"unreadable"' in line
    assert "log.unreadable" in (export_line(line, EXPORT_FORMATS["ecs"]) or "")
    raw = b'{"id":"07-1-1","at":"2025-11-24T10:00:00.000Z","event":%b,"mac":"x"}' % nested(depth)
    assert "log.unreadable" in (export_line(raw, EXPORT_FORMATS["ocsf"]) or "")


def test_an_epoch_of_a_thousand_digits_is_none():
    """Python refuses to make a number of more than 4,300, and an id has room for 19."""
    read = parse_entry(
        7, b"1-1", [b"event", b"{}", b"mac", b"", b"epoch", b"9" * 5000, b"stamp", b""]
    )

    assert 0 == read.epoch
    assert 0 == parse_entry(7, b"1-1", [b"epoch", b"9" * 20]).epoch


async def test_a_stamp_says_only_what_redis_may_say():
    """No MAC covers it: a genuine event must not get another type, tenant or outcome by it."""
    memory = Memory()
    memory.tell(7, 1, tenant="shop", type="otp.rejected", outcome="failure", number="1:a")
    forged = (
        b'{"type":"otp.verified","tenant":"bank","outcome":"success","number":"1:b","folded":3}'
    )
    last = msgspec.structs.replace(memory.entries[7][0], stamp=forged)
    memory.entries[7] = [last]

    (shown,), _ = await reader_of(memory).read_page()
    told = build_event_record(decode_event(last, has_valid_mac=True))

    assert ("otp.rejected", "shop", "failure", "1:a", 3) == (
        *(shown[name] for name in ("type", "tenant", "outcome", "number")),
        shown["folded"],
    )
    assert told
    assert ("otp.rejected", "shop", "failure", "1:a", 3) == (
        told.type,
        told.tenant,
        told.outcome,
        told.number,
        told.folded,
    )


async def test_an_event_whose_stamp_is_none_of_redis_is_not_ours():
    """Its MAC says nothing of the stamp."""
    memory = Memory()
    memory.tell(7, 1)
    memory.entries[7] = [msgspec.structs.replace(memory.entries[7][0], stamp=b'{"reason":5}')]

    (shown,), _ = await reader_of(memory).read_page()

    assert "failed" == shown["integrity"]


# --------------------------------------------------------------------------- what the folder holds


FORGED = [
    b'{"id":"07-1-1","at":"2025-11-24","event":{},"mac":""}',
    b'{"id":"07-1-1","at":"2025-99-99T99:99:99.999Z","event":{},"mac":""}',
    b'{"id":"07-1-1","at":"2025-11-24T10:00:00.000Z","event":{},"mac":"","x":' + b"[" * 5000,
    b'{"id":"07-99999999999999999999-1","at":"2025-11-24T10:00:00.000Z","event":{},"mac":""}',
    b'{"id":"07-1-99999999999999999999","at":"2025-11-24T10:00:00.000Z","event":{},"mac":""}',
    b'{"id":"07-1-1","at":"1969-01-01T00:00:00+00:00","event":{},"mac":""}',
    b'{"gap":{"partition":7,"epoch":1,"first":1,"last":1,"x":' + b"[" * 5000,
    b'{"seal":{"number":9,"x":' + b"[" * 5000,
    b'{"seal":' + b"[" * 5000,
    b"[" * 5000,
]


@pytest.fixture
def archive(tmp_path: Path) -> archive_builder.ArchiveBuilder:
    return build_standard_archive(tmp_path / "archive")


@pytest.mark.parametrize("line", FORGED, ids=range(len(FORGED)))
async def test_a_forged_line_stops_nobody(archive, line):
    """Pages count it, verification finds it, and every other line is returned."""
    newest = segments.list_segments(archive.folder)[-1]
    reader = reader_of(Memory(), archive=ArchiveReader(archive.folder), has_mac_key=lambda _: False)
    whole, _ = await reader.read_page()
    with newest.open("ab") as file:
        file.write(line + b"\n")

    reader = reader_of(Memory(), archive=ArchiveReader(archive.folder), has_mac_key=lambda _: False)
    page, cursor = await reader.read_page(limit=1)
    while cursor:
        more, cursor = await reader.read_page(limit=1, cursor=cursor)
        page += more

    assert [one["event_id"] for one in whole] == [one["event_id"] for one in page]
    assert export_line(line, EXPORT_FORMATS["ecs"]) is None or "log." in export_line(
        line, EXPORT_FORMATS["ecs"]
    )
    assert not verify_archive(archive).is_sound or b'"id"' in line


def test_a_time_without_a_zone_is_no_instant():
    """It is handled as any other invalid time."""
    with pytest.raises(ValueError, match="2026"):
        parse_rfc3339("2026-11-24")


def enlarge(path: Path, size: int) -> None:
    """Append a line without an end to a segment, as a sparse file that uses no disk space."""
    with path.open("r+b") as file:
        file.truncate(size)


async def test_a_line_of_a_hundred_megabytes_is_not_read_as_one(archive):
    """Neither by pages, nor to find the end of the archive or the start of a segment."""
    first, _, newest = segments.list_segments(archive.folder)
    reader = reader_of(Memory(), archive=ArchiveReader(archive.folder), has_mac_key=lambda _: False)
    whole, _ = await reader.read_page()
    lines = newest.read_bytes()
    newest.write_bytes(b"")
    enlarge(newest, 100 << 20)
    with newest.open("ab") as file:
        file.write(b"\n" + lines)
    with first.open("ab") as file:
        file.truncate(100 << 20)
    tracemalloc.start()
    began = perf_counter()

    store = ArchiveReader(archive.folder)
    reader = reader_of(Memory(), archive=store, has_mac_key=lambda _: False)
    page, cursor = await reader.read_page()
    while cursor:
        more, cursor = await reader.read_page(cursor=cursor)
        page += more

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [one["event_id"] for one in whole] == [one["event_id"] for one in page]
    assert peak < 40 << 20
    assert perf_counter() - began < 20
    assert store.unreadable_lines


async def test_a_segment_that_retention_deletes_meanwhile_is_not_missed(archive, monkeypatch):
    """A cursor that points into the deleted segment stays valid as well."""
    listed = segments.list_segments(archive.folder)
    monkeypatch.setattr(archive_scan, "list_segments", lambda _: listed)
    reader = reader_of(Memory(), archive=ArchiveReader(archive.folder), has_mac_key=lambda _: False)
    page, cursor = await reader.read_page(limit=10)
    assert cursor
    listed[0].unlink()
    listed[1].unlink()
    shutil.rmtree(listed[1].parent)

    following, cursor = await reader.read_page(limit=100, cursor=cursor)

    assert 10 == len(page)
    assert cursor is None
    assert len(following) < 10


# ---------------------------------------------------------------------------------- verifying


def test_a_file_of_line_ends_takes_no_memory(archive):
    """A stretch of ours has some thousand lines; one without an end is given up."""
    newest = segments.list_segments(archive.folder)[-1]
    with newest.open("ab") as file:
        for _ in range(30):
            file.write(b"\n" * 100_000)
    tracemalloc.start()

    report = verify_archive(archive)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not report.is_sound
    assert peak < 30 << 20


def test_holes_without_number_take_no_time(archive):
    """Earlier, each late line was searched for among all missing ones, which took quadratic time."""
    newest = segments.list_segments(archive.folder)[-1]
    line = b'{"id":"09-1-%d","at":"2025-11-25T10:00:00.000Z","event":{},"mac":""}\n'
    with newest.open("ab") as file:
        file.writelines(line % sequence for sequence in range(2, 40_000, 2))
        file.writelines(line % sequence for sequence in range(39_999, 3, -2))
    began = process_time()  # of this process alone: other programs do not count

    report = verify_archive(archive)

    assert report.found["missing"]
    assert process_time() - began < 5


def test_folders_in_folders_without_end_are_foreign(archive):
    """They are foreign at any depth; they are not searched, because that finds nothing more."""
    handle = os.open(archive.folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)

    names = list_foreign_files(archive.folder)
    subprocess.run(["rm", "-r", archive.folder / "d"], check=True)  # pytest's way has an end
    assert ["d/d"] == names


def test_a_folder_that_cannot_be_read_is_not_taken_for_empty(archive, monkeypatch):
    """Earlier, an unreadable newest day was treated as missing, and the rest was called sound."""
    newest = segments.list_segments(archive.folder)[-1].parent
    listing = os.scandir

    def scandir(path):
        if str(path) == str(newest):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "listdir", lambda path: [one.name for one in scandir(path)])

    with pytest.raises(PermissionError):
        verify_archive(archive)


def test_what_is_no_file_is_foreign_and_is_not_read(archive):
    """Opening a pipe would block the reader."""
    day = segments.list_segments(archive.folder)[-1].parent
    os.mkfifo(day / "000000000099.jsonl")
    (day / "000000000098.jsonl").symlink_to("/dev/zero")
    (day / "000000000097.jsonl").symlink_to("000000000097.jsonl")
    (day / "000000000096.jsonl").mkdir()

    names = [f"{day.name}/0000000000{number}.jsonl" for number in (96, 97, 98, 99)]
    assert names == list_foreign_files(archive.folder)
    assert len(segments.list_segments(archive.folder)) == 3


async def test_an_event_larger_than_any_of_ours_is_not_read():
    """Not even its fields: a page shows a hundred of them, and each field is a row."""
    memory = Memory()
    fields = {f"f{number}": number for number in range(10_000)}
    memory.tell(7, 1, **fields)

    (shown,), _ = await reader_of(memory).read_page()

    assert ("unreadable", "failed") == (shown["type"], shown["integrity"])
