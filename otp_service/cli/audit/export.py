"""`audit export`: the archive in the formats of security teams' tools."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from otp_service.audit.archive_format import segments
from otp_service.audit.exports import EXPORT_FORMATS, export_line
from otp_service.cli.command import CommandError, Subparsers, add_command, parse_instant
from otp_service.clock import now_ms
from otp_service.core.timestamps import format_rfc3339


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "export", run_export, takes_config=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")
    parser.add_argument("--format", choices=sorted(EXPORT_FORMATS), required=True)
    parser.add_argument("--since", metavar="WHEN", help="start: an age like '24h', or an instant")


def run_export(args: argparse.Namespace) -> int:
    """Write an archive's events for a security team's tools.

    Each event becomes one JSON object on a line, in the order of the archive: OCSF 1.8.0,
    or ECS 9.4.0. Ids are those of the archive, so that a repeat is recognized. Gaps, and
    entries with an invalid MAC, become findings. The archive is not verified: use
    'otp-service audit verify'. Exit code 1 if the folder has no segment.

    examples:
      otp-service audit export --format ocsf /var/lib/otp/archive > events.jsonl
      otp-service audit export --format ecs --since 24h /var/lib/otp/archive
    """
    since = parse_instant(args.since, now_ms()) if args.since else 0
    paths = segments.list_segments(args.folder)
    if not paths:
        raise CommandError(f"{args.folder} is not an archive: it has no segment.")
    write = EXPORT_FORMATS[args.format]
    for path in _skip_ended_segments(paths, since):
        for line in segments.iterate_raw_lines(path):
            if len(line) < segments.MAX_LINE_BYTES and not line.endswith(b"\n"):
                break  # the sealer is writing this line
            if text := export_line(line.removesuffix(b"\n"), write, since):
                sys.stdout.write(f"{text}\n")
    return 0


def _skip_ended_segments(paths: list[Path], since_ms: int) -> Iterator[Path]:
    """Yield segments that may have newer events: a segment has none after the next one's day."""
    day = format_rfc3339(since_ms)[:10]
    for segment, following in zip(paths, [*paths[1:], None], strict=True):
        if following is None or segments.parse_segment_day(following) >= day:
            yield segment
