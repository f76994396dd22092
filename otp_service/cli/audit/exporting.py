"""`audit export`: the archive in the formats that security teams feed to their tools."""

import argparse
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from otp_service.audit.exports import FORMATS, exported
from otp_service.audit.segments import day_of, segments
from otp_service.cli.describing import CommandError, Subparsers, command


_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = command(subparsers, "export", run, config=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")
    parser.add_argument("--format", choices=sorted(FORMATS), required=True)
    parser.add_argument(
        "--since", metavar="WHEN", help="only what happened since 24h, 30m, 7d, or an instant (UTC)"
    )


def run(known: argparse.Namespace) -> int:
    """Write an archive's events for a security team's tools.

    Each event becomes one JSON object on a line of its own, in the order of the archive: OCSF
    1.8.0, or ECS 9.4.0. Ids are the archive's, so a repeat is recognised. Gaps, and entries whose
    MAC was wrong, become findings. Whether the archive is whole says 'otp-service audit verify'.

    examples:
      otp-service audit export --format ocsf /var/lib/otp/archive > events.jsonl
      otp-service audit export --format ecs --since 24h /var/lib/otp/archive
    """
    since = (
        instant(known.since, datetime.fromtimestamp(time.time(), UTC))
        if known.since is not None
        else None
    )
    found = segments(known.folder)
    if not found:
        raise CommandError(f"{known.folder} is no archive: there is no segment in it.")
    write = FORMATS[known.format]
    first = 0 if since is None else int(since.timestamp() * 1000)
    for segment in _since(found, since):
        for line in _whole_lines(segment):
            if text := exported(line, write, first):
                sys.stdout.write(f"{text}\n")
    return 0


def instant(text: str, now: datetime) -> datetime:
    """Return the instant that somebody typed: `24h` ago, or one in ISO 8601, in UTC unless said."""
    if match := re.fullmatch(r"([0-9]{1,5})([mhd])", text):
        return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"'{text}' is no time: write 24h, 30m, 7d or 2026-11-24T09:30") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _since(found: list[Path], since: datetime | None) -> Iterator[Path]:
    """Leave out what had ended before: nothing in a segment is younger than the next one's day."""
    day = "" if since is None else f"{since.astimezone(UTC):%Y-%m-%d}"
    for segment, following in zip(found, [*found[1:], None], strict=True):
        if following is None or day_of(following) >= day:
            yield segment


def _whole_lines(segment: Path) -> Iterator[bytes]:
    """Give the lines of a segment; one without an end is being written."""
    with segment.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1]
