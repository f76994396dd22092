"""`audit export`: the events of the archive, for a security team's tools."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from otp_service.audit.archive_format.segments import build_segment_path
from otp_service.cli import main
from otp_service.core.timestamps import parse_rfc3339
from tests.audit.archive_lines import EVENT_TIME_MS, build_full_event, build_line


LATER = datetime(2025, 11, 25, tzinfo=UTC)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two segments of two days; the second's last line is still being written."""
    first, second = (
        build_segment_path(tmp_path, LATER.replace(day=22), 1),
        build_segment_path(tmp_path, LATER, 2),
    )
    for segment in (first, second):
        segment.parent.mkdir()
    seal = b'{"seal":{},"signature":""}'
    first.write_bytes(b"\n".join((build_line(build_full_event("otp.issued")), seal, b"")))
    told = build_line(build_full_event("otp.verified")).replace(b"2025-11-22T", b"2025-11-26T")
    second.write_bytes(b"\n".join((told, build_line(build_full_event("otp.sent"))[:-20])))
    return tmp_path


def exported(capsys, *arguments: object) -> list[Any]:
    """Run it and return the events that it has written."""
    assert 0 == main(["audit", "export", *map(str, arguments)])
    return [json.loads(text) for text in capsys.readouterr().out.splitlines()]


def test_every_event_is_one_line_in_the_order_of_the_archive(archive: Path, capsys) -> None:
    """Seals are left out, and an incomplete last line is left for the next run."""
    told = exported(capsys, "--format", "ocsf", archive)

    codes = [event["metadata"]["event_code"] for event in told]
    assert ["otp.issued", "otp.verified"] == codes


def test_what_was_before_is_left_out(archive: Path, capsys) -> None:
    """Segments that ended earlier are not read."""
    (first,) = (archive / "2025-11-22").iterdir()
    first.write_bytes(b"this would be a finding\n")

    told = exported(capsys, "--format", "ecs", "--since", "2025-11-26T00:00:00Z", archive)

    assert ["otp.verified"] == [event["event"]["action"] for event in told]


def test_a_segment_whose_day_has_begun_before_is_read(archive: Path, capsys) -> None:
    """It ends on the day on which the next one begins."""
    told = exported(capsys, "--format", "ecs", "--since", "2025-11-22T12:00:00Z", archive)

    assert parse_rfc3339("2025-11-22T12:00:00.000Z") < EVENT_TIME_MS
    assert ["otp.issued", "otp.verified"] == [event["event"]["action"] for event in told]


def test_a_folder_without_segments_is_said_to_be_none(tmp_path: Path, capsys) -> None:
    """An empty export would look like a day without events."""
    assert 1 == main(["audit", "export", "--format", "ecs", str(tmp_path / "nowhere")])

    assert "is not an archive" in capsys.readouterr().err


def test_a_line_that_is_far_too_long_is_told_as_a_finding(archive: Path, capsys) -> None:
    """It is reported in parts, and not skipped as an incomplete line."""
    for segment in archive.glob("2025-11-22/*"):
        segment.write_bytes(b"x" * (5 << 20) + b"\n" + segment.read_bytes())

    told = exported(capsys, "--format", "ecs", archive)

    actions = [one["event"]["action"] for one in told]
    assert ["log.unreadable", "log.unreadable", "otp.issued", "otp.verified"] == actions


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--type", "otp.verified"), ["otp.verified"]),
        (("--type", "otp.issued,otp.sent"), ["otp.issued"]),
        (("--client-ip", "203.0.113.9"), ["otp.issued", "otp.verified"]),
        (("--client-ip", "203.0.113.8"), []),
        (("--client-ip-changed",), ["otp.verified"]),
        (("--pseudonym", "number-of-it", "--type", "otp.issued"), ["otp.issued"]),
        (("--event-reason", "why", "--tenant", "tenant-of-it"), ["otp.issued", "otp.verified"]),
        (("--until", "2025-11-26T00:00:00Z"), ["otp.issued"]),
        (("--since", "2025-11-25T00:00:00Z", "--until", "2025-11-27T00:00:00Z"), ["otp.verified"]),
    ],
)
def test_it_takes_the_filters_of_a_search(archive: Path, capsys, arguments, expected) -> None:
    """One who found something exports the same."""
    told = exported(capsys, "--format", "ecs", *arguments, archive)

    assert expected == [event["event"]["action"] for event in told]


def test_an_address_that_is_none_exports_nothing(archive: Path, capsys) -> None:
    """A filter that matches nothing would look like a clean archive."""
    call = ["audit", "export", "--format", "ecs", "--client-ip", "203.0.113", str(archive)]

    assert 1 == main(call)
    assert "--client-ip must be an address" in capsys.readouterr().err
