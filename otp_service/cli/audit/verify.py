"""`audit verify` and `audit anchor`: whether an archive is what its sealer wrote."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from otp_service.audit.archive_format import seals, segments
from otp_service.audit.archive_format.entries import SEAL_PREFIX
from otp_service.audit.verification.findings import FindingKind, VerificationReport
from otp_service.audit.verification.verifier import verify_folder
from otp_service.cli.command import Subparsers, UsageError, add_command, format_json
from otp_service.core.printable_text import escape_unprintable


PROGRESS_STEP_BYTES = 4 * 1024 * 1024


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "verify", run_verify, takes_config=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")
    add_public_key_option(parser)
    add_anchor_option(parser)
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    parser = add_command(subparsers, "anchor", run_anchor, takes_config=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")


def add_public_key_option(parser: argparse.ArgumentParser) -> None:
    text = "the file with the public keys, oldest first"
    parser.add_argument("--public-key", type=Path, required=True, metavar="FILE", help=text)


def add_anchor_option(parser: argparse.ArgumentParser) -> None:
    text = "an anchor line in quotes, or a file with anchor lines; can be repeated"
    parser.add_argument("--anchor", action="append", default=[], metavar="ANCHOR", help=text)


def run_verify(args: argparse.Namespace) -> int:
    """Verify an archive with the public key alone.

    Neither the service nor Redis is needed. Prints each finding with its place, and up
    to which seal everything is sound. That nothing was cut off at the end is only shown
    by an anchor that is kept elsewhere.

    Exit code 0 if nothing was found, 1 if something was, 2 if nothing could be verified.

    examples:
      otp-service audit verify /var/lib/otp/archive --public-key audit.pub
      otp-service audit verify archive --public-key audit.pub --anchor anchors.txt
    """
    keys = read_public_keys(args.public_key)
    anchors = read_anchors(args.anchor)
    paths = _list_segments(args.folder)
    if not paths and not anchors:
        raise UsageError(f"{args.folder} has no segment of an archive.")
    progress = _VerificationProgress(paths)
    try:
        report = verify_folder(args.folder, keys, anchors, wrap_lines=progress.track_lines)
    finally:
        progress.clear_line()
    if args.json:
        print(format_json(report, indent=2))
    else:
        print("\n".join(map(escape_unprintable, format_report(report))))
    return 1 if report.found else 2 * (report.verified is None)


def run_anchor(args: argparse.Namespace) -> int:
    """Print the anchor of the newest seal: one line for a ticket or a mail.

    Keep it where the sealer cannot write: 'audit verify --anchor' then detects whether
    anything up to that seal was changed or cut off. This command verifies nothing. Exit
    code 2 if there is no seal yet.

    examples:
      otp-service audit anchor /var/lib/otp/archive | mail -s anchor audit@example.com
    """
    for path in reversed(_list_segments(args.folder)):
        for line in segments.iterate_lines_backward(path):
            if line.startswith(SEAL_PREFIX):
                try:
                    print(escape_unprintable(str(seals.build_anchor(line))))
                except ValueError as error:
                    raise UsageError(f"the last seal in {path} cannot be read: {error}") from error
                return 0
    raise UsageError(f"{args.folder} has no seal yet.")


def read_public_keys(path: Path) -> list[seals.PublicKey]:
    """Return the public keys of a file, at least one. Raises UsageError."""
    try:
        keys = seals.parse_public_keys(read_text_file(path))
    except ValueError as error:
        raise UsageError(f"{path} is not a file of public keys: {error}") from error
    if not keys:
        raise UsageError(f"{path} has no public key in it.")
    return keys


def read_text_file(path: Path) -> str:
    """Return the text of a file. Raises UsageError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise UsageError(f"cannot read {path}: {reason}.") from error


def format_report(report: VerificationReport) -> Iterator[str]:
    """Yield the lines of a report: findings, notes, and up to which seal everything is sound."""
    for finding in report.findings:
        yield f"FOUND {finding}"
    if report.findings:
        yield from _format_omitted("found", report.found, len(report.findings))
        yield ""
    for note in report.notes:
        yield f"note: {note}"
    if report.notes:
        yield from _format_omitted("noted", report.noted, len(report.notes))
        yield ""
    if report.verified:
        number, at, hashed = report.verified
        yield f"verified  {_format_count(report.events, 'event')}, up to seal {number} of {at}"
        yield f"          {hashed}"
    else:
        yield "verified  nothing"
    lines, sealed = _format_count(report.lines, "line"), _format_count(report.seals, "seal")
    yield f"read      {lines}, {sealed} in {_format_count(report.segments, 'segment')}"
    if report.unsealed:
        lines = _format_count(report.unsealed, "line")
        yield f"unsealed  {lines} after the last seal, not protected yet"
    sound = "sound" if report.is_sound else "nothing is verified: there is no seal"
    found = sum(report.found.values())
    yield f"result    {_format_count(found, 'finding') if found else sound}"


def _format_count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _format_omitted(label: str, counts: dict[FindingKind, int], listed: int) -> Iterator[str]:
    if sum(counts.values()) > listed:
        each = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
        yield f"Not all are listed. {label}: {each}"


def _list_segments(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.")
    try:
        return segments.list_segments(folder)
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}.") from error


def read_anchors(texts: Iterable[str]) -> list[seals.Anchor]:
    """Return the anchors of the option --anchor. Raises UsageError."""
    return [anchor for text in texts for anchor in _parse_anchors(text)]


def _parse_anchors(text: str) -> list[seals.Anchor]:
    """Return the anchors in an argument, or in the file that it names."""
    anchors = seals.find_anchors(text) or seals.find_anchors(read_text_file(Path(text)))
    if not anchors:
        raise UsageError(f"{text} has no line 'otp-audit-anchor NUMBER TIME HASH'.")
    return anchors


class _VerificationProgress:
    """Shows the progress on standard error if it is a terminal."""

    def __init__(self, paths: list[Path]) -> None:
        self._total_bytes = sum(path.stat().st_size for path in paths)
        self._read_bytes = self._reported_bytes = 0
        self._is_enabled = bool(sys.stderr) and sys.stderr.isatty()

    def track_lines(self, lines: Iterable[bytes]) -> Iterable[bytes]:
        """Return the lines, counted if progress is shown."""
        return self._count_lines(lines) if self._is_enabled else lines

    def clear_line(self) -> None:
        if self._is_enabled:
            print(end="\r\x1b[K", file=sys.stderr, flush=True)

    def _count_lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            self._read_bytes += len(line)
            if self._read_bytes >= self._reported_bytes + PROGRESS_STEP_BYTES:
                self._reported_bytes = self._read_bytes
                share = f"{self._read_bytes / max(1, self._total_bytes):.0%}"
                print(f"verified: {share}", end="\r", file=sys.stderr, flush=True)
            yield line
