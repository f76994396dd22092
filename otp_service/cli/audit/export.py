"""`audit export`: the archive in the formats that security teams feed to their tools."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from otp_service.audit.archive_format.segments import (
    MAX_LINE_BYTES,
    iterate_raw_lines,
    list_segments,
    parse_segment_day,
)
from otp_service.audit.exports import EXPORT_FORMATS, export_line
from otp_service.cli.command import CommandError, Subparsers, add_command, parse_instant
from otp_service.clock import now_ms
from otp_service.core.timestamps import format_rfc3339


def register_commands(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "export", run_export, takes_config=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")
    parser.add_argument("--format", choices=sorted(EXPORT_FORMATS), required=True)
    parser.add_argument("--since", metavar="WHEN", help="from then on: '24h' ago, or an instant")


def run_export(args: argparse.Namespace) -> int:
    """Write an archive's events for a security team's tools.

    Each event becomes one JSON object on a line of its own, in the order of the archive: OCSF
    1.8.0, or ECS 9.4.0. Ids are the archive's, so a repeat is recognised. Gaps, and entries whose
    MAC was wrong, become findings. Whether the archive is whole says 'otp-service audit verify'.

    examples:
      otp-service audit export --format ocsf /var/lib/otp/archive > events.jsonl
      otp-service audit export --format ecs --since 24h /var/lib/otp/archive
    """
    since = parse_instant(args.since, now_ms()) if args.since else 0
    found = list_segments(args.folder)
    if not found:
        raise CommandError(f"{args.folder} is no archive: there is no segment in it.")
    write = EXPORT_FORMATS[args.format]
    for segment in _skip_ended_segments(found, since):
        for line in iterate_raw_lines(segment):
            if len(line) < MAX_LINE_BYTES and not line.endswith(b"\n"):
                break  # it is being written
            if text := export_line(line.removesuffix(b"\n"), write, since):
                sys.stdout.write(f"{text}\n")
    return 0


def _skip_ended_segments(paths: list[Path], since_ms: int) -> Iterator[Path]:
    """Leave out what had ended before: nothing in a segment is younger than the next one's day."""
    day = format_rfc3339(since_ms)[:10]
    for segment, following in zip(paths, [*paths[1:], None], strict=True):
        if following is None or parse_segment_day(following) >= day:
            yield segment
