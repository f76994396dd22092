"""Reading an archive for a replay: what is decoded, and what is left out and counted."""

import pytest

from otp_service.audit.archive_format import segments
from otp_service.audit.reports.pumping_log import (
    PumpingLog,
    find_extent,
    list_segments_since,
)
from otp_service.core.timestamps import DAY_MS
from tests.audit.archive_builder import START_MS, ArchiveBuilder


TYPES = {"otp.issued", "otp.issue_denied"}


@pytest.fixture
def archive(tmp_path):
    return ArchiveBuilder(tmp_path / "archive")


def read(archive, since=0, until=2**62):
    log = PumpingLog(TYPES)
    lines = (
        line
        for path in segments.list_segments(archive.folder)
        for line in segments.iterate_raw_lines(path)
    )
    return log, list(log.iterate_events(lines, since, until))


def test_the_members_of_an_event_and_of_its_stamp_are_read(archive):
    archive.add_event(1, client_ip="2001:db8::7", price=75_000, prefix="1:a", unknown=[{}])
    archive.add_event(
        1,
        type="otp.issue_denied",
        stamp=b'{"reason":"rate_limited","limit":"UnverifiedPerRange","folded":7}',
    )
    archive.append_seal()

    log, (issued, denied) = read(archive)

    assert issued.at == START_MS + 1000
    assert ("2001:db8::/64", 75_000, "1:a") == (issued.client_ip, issued.price, issued.prefix)
    assert ("UnverifiedPerRange", 7) == (denied.limit, denied.folded)
    assert (0, 0, 0) == (log.problems.invalid_macs, log.problems.unreadable, log.problems.missing)


def test_other_events_and_other_times_are_left_out(archive):
    for kind in ("otp.attempted", "otp.issued", "otp.issued", "otp.issued"):
        archive.add_event(1, type=kind)
    archive.append_seal()

    _, found = read(archive, START_MS + 3000, START_MS + 4000)

    assert [START_MS + 3000] == [event.at for event in found]


def test_what_is_invalid_is_counted(archive):
    """An attacker who can write to Redis must not decide what a replay shows."""
    archive.add_event(1, is_ours=False)
    archive.add_event(1, price="much")
    archive.add_event(1, price=-1)
    archive.add_gap(2, 3)
    archive.append_seal()
    path = segments.list_segments(archive.folder)[0]
    with path.open("ab") as file:
        file.write(b"{}\n" + b'{"id":"01-1-1","at":"","event":{"type":"otp.issued"')

    log, found = read(archive)

    assert [] == found
    assert (1, 3, 3) == (
        log.problems.invalid_macs,
        log.problems.unreadable,
        log.problems.missing,
    )


def test_the_extent_is_that_of_events(archive):
    assert find_extent(archive.folder) is None
    archive.add_gap(1, 1)
    archive.add_event(1)
    archive.append_seal()
    archive.start_segment(days=2)
    archive.add_event(1)
    archive.append_seal()
    end = START_MS + 2 * DAY_MS + 2000

    assert (START_MS + 1000, end) == find_extent(archive.folder)
    assert 2 == len(list_segments_since(archive.folder, START_MS))
    assert 1 == len(list_segments_since(archive.folder, end + DAY_MS))
