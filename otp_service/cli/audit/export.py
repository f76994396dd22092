"""`audit export`: the archive in the formats that security teams feed to their tools."""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from otp_service.audit.archive_format.segments import LONGEST_LINE, day_of, segments, whole_lines
from otp_service.audit.exports import FORMATS, exported
from otp_service.cli.command import CommandError, Subparsers, command, instant
from otp_service.core.log_entry import rfc3339


def add(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = command(subparsers, "export", run, config=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")
    parser.add_argument("--format", choices=sorted(FORMATS), required=True)
    parser.add_argument("--since", metavar="WHEN", help="from then on: '24h' ago, or an instant")


def run(known: argparse.Namespace) -> int:
    """Write an archive's events for a security team's tools.

    Each event becomes one JSON object on a line of its own, in the order of the archive: OCSF
    1.8.0, or ECS 9.4.0. Ids are the archive's, so a repeat is recognised. Gaps, and entries whose
    MAC was wrong, become findings. Whether the archive is whole says 'otp-service audit verify'.

    examples:
      otp-service audit export --format ocsf /var/lib/otp/archive > events.jsonl
      otp-service audit export --format ecs --since 24h /var/lib/otp/archive
    """
    since = instant(known.since, time.time_ns() // 1_000_000) if known.since else 0
    found = segments(known.folder)
    if not found:
        raise CommandError(f"{known.folder} is no archive: there is no segment in it.")
    write = FORMATS[known.format]
    for segment in _since(found, since):
        for line in whole_lines(segment):
            if len(line) < LONGEST_LINE and not line.endswith(b"\n"):
                break  # it is being written
            if text := exported(line.removesuffix(b"\n"), write, since):
                sys.stdout.write(f"{text}\n")
    return 0


def _since(found: list[Path], since: int) -> Iterator[Path]:
    """Leave out what had ended before: nothing in a segment is younger than the next one's day."""
    day = rfc3339(since)[:10]
    for segment, following in zip(found, [*found[1:], None], strict=True):
        if following is None or day_of(following) >= day:
            yield segment
