"""`audit export`: the archive in the formats of security teams' tools."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from otp_service.audit.archive_format import segments
from otp_service.audit.exports import EXPORT_FORMATS, ExportSelection, export_line
from otp_service.audit.query.filters import CRITERIA_NAMES, build_event_filter
from otp_service.cli.audit.criteria_options import (
    add_criteria_options,
    add_person_options,
    parse_criteria,
)
from otp_service.cli.command import CommandError, Subparsers, add_command
from otp_service.clock import now_ms
from otp_service.core.timestamps import format_rfc3339


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "export", run_export, takes_dev_folder=True)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")
    parser.add_argument("--format", choices=sorted(EXPORT_FORMATS), required=True)
    add_person_options(parser)
    add_criteria_options(parser)


def run_export(args: argparse.Namespace) -> int:
    """Write an archive's events for a security team's tools.

    Each event becomes one JSON object on a line, in the order of the archive: OCSF 1.8.0,
    or ECS 9.4.0. Ids are those of the archive, so that a repeat is recognized. The filters
    are those of 'otp-service audit search'. Gaps, and entries with an invalid MAC, become
    findings; gaps and unreadable lines are exported whatever the filters. The archive is
    not verified: use 'otp-service audit verify'. Exit code 1 if the folder has no segment.

    --number and --account need the settings with their keys, and Redis, where the search
    for a person is recorded as an event. Nothing else reads the settings.

    examples:
      otp-service audit export --format ocsf /var/lib/otp/archive > events.jsonl
      otp-service audit export --format ecs --since 24h --until 1h /var/lib/otp/archive
      otp-service audit export --format ecs --type otp.rejected --tenant shop archive
    """
    criteria = parse_criteria(args, now_ms())
    if not segments.list_segments(args.folder):
        raise CommandError(f"{args.folder} is not an archive: it has no segment.")
    filters = {n: v for n, v in criteria.to_filters().items() if n in CRITERIA_NAMES}
    selection = ExportSelection(
        event_filter=build_event_filter(filters), since=criteria.since or 0, until=criteria.until
    )
    if args.number is not None or args.account is not None:
        from otp_service.cli.audit.person_export import export_person  # noqa: PLC0415  # needs the service, which auditors do not have

        export_person(args, selection)
        return 0
    for text in export_archive(args.folder, args.format, selection):
        sys.stdout.write(f"{text}\n")
    return 0


def export_archive(folder: Path, format_name: str, selection: ExportSelection) -> Iterator[str]:
    """Yield the selected lines of an archive in a format, oldest first."""
    formatter = EXPORT_FORMATS[format_name]
    for path in _skip_ended_segments(segments.list_segments(folder), selection.since):
        for line in segments.iterate_raw_lines(path):
            if len(line) < segments.MAX_LINE_BYTES and not line.endswith(b"\n"):
                break  # the sealer is writing this line
            if text := export_line(line.removesuffix(b"\n"), formatter, selection):
                yield text


def _skip_ended_segments(paths: list[Path], since_ms: int) -> Iterator[Path]:
    """Yield segments that may have newer events: a segment has none after the next one's day."""
    day = format_rfc3339(since_ms)[:10]
    for segment, following in zip(paths, [*paths[1:], None], strict=True):
        if following is None or segments.parse_segment_day(following) >= day:
            yield segment
