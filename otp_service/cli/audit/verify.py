"""`audit verify` and `audit anchor`: whether an archive is what its sealer wrote."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.entries import SEAL
from otp_service.audit.archive_format.seals import (
    Anchor,
    PublicKey,
    anchor_of,
    anchors_in,
    public_keys,
)
from otp_service.audit.verification.findings import Kind, Report
from otp_service.audit.verification.verifier import verify_folder
from otp_service.cli.command import Subparsers, WrongCall, command, json_text, printable


STEP = 4 * 1024 * 1024
"""Bytes between two words of progress."""


def add(subparsers: Subparsers) -> None:
    """Describe the commands."""
    parser = command(subparsers, "verify", run, config=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")
    add_public_key(parser)
    parser.add_argument(
        "--anchor",
        action="append",
        default=[],
        metavar="ANCHOR",
        help="the line, in quotes, or a file that has such lines in it; as often as you like",
    )
    parser.add_argument("--json", action="store_true", help="the whole report, for programs")
    parser = command(subparsers, "anchor", anchor, config=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")


def add_public_key(parser: argparse.ArgumentParser) -> None:
    """Describe the option by which a command is told the public keys."""
    parser.add_argument(
        "--public-key",
        type=Path,
        required=True,
        metavar="FILE",
        help="the file with the public keys, oldest first",
    )


def run(known: argparse.Namespace) -> int:
    """Verify an archive with the public key alone.

    Neither the service nor Redis is needed. Says what is wrong and where, and up to
    which seal everything is right. That nothing was cut off at the end is only seen
    with an anchor that is kept elsewhere. Exit code 0 if nothing was found, 1 if
    something was, 2 if nothing could be verified.

    examples:
      otp-service audit verify /var/lib/otp/archive --public-key audit.pub
      otp-service audit verify archive --public-key audit.pub --anchor anchors.txt
    """
    keys = read_keys(known.public_key)
    anchors = [one for text in known.anchor for one in _anchors(text)]
    paths = _segments(known.folder)
    if not paths and not anchors:
        raise WrongCall(f"{known.folder} has no segment of an archive.")
    progress = _Progress(paths)
    try:
        report = verify_folder(known.folder, keys, anchors, watch=progress.watch)
    finally:
        progress.end()
    if known.json:
        print(json_text(report, indent=2))
    else:
        print("\n".join(map(printable, told(report))))
    return 1 if report.found else 2 * (report.verified is None)


def anchor(known: argparse.Namespace) -> int:
    """Print the anchor of the newest seal: one line for a ticket or a mail.

    Whoever keeps it where the archive cannot be written sees later whether anything
    up to that seal was changed or cut off. Nothing is verified by this.

    examples:
      otp-service audit anchor /var/lib/otp/archive | mail -s anchor audit@example.com
    """
    for path in reversed(_segments(known.folder)):
        for line in segments.lines_backward(path):
            if line.startswith(SEAL):
                try:
                    print(printable(str(anchor_of(line))))
                except ValueError as error:
                    raise WrongCall(f"the last seal in {path} cannot be read: {error}") from error
                return 0
    raise WrongCall(f"{known.folder} has no seal yet.")


def read_keys(path: Path) -> list[PublicKey]:
    """Return the public keys of a file, at least one."""
    try:
        keys = public_keys(read_text(path))
    except ValueError as error:
        raise WrongCall(f"{path} is no file of public keys: {error}") from error
    if not keys:
        raise WrongCall(f"{path} has no public key in it.")
    return keys


def read_text(path: Path) -> str:
    """Return what a file says."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise WrongCall(f"cannot read {path}: {reason}.") from error


def told(report: Report) -> Iterator[str]:
    """Say it to a person: what was found, what else is to be known, and up to when all is right."""
    for finding in report.findings:
        yield f"FOUND {finding}"
    if report.findings:
        yield from _left_out("found", report.found, len(report.findings))
        yield ""
    for note in report.notes:
        yield f"note: {note}"
    if report.notes:
        yield from _left_out("noted", report.noted, len(report.notes))
        yield ""
    if report.verified:
        number, at, hashed = report.verified
        yield f"verified  {_counted(report.events, 'event')}, up to seal {number} of {at}"
        yield f"          {hashed}"
    else:
        yield "verified  nothing"
    lines, seals = _counted(report.lines, "line"), _counted(report.seals, "seal")
    yield f"read      {lines}, {seals} in {_counted(report.segments, 'segment')}"
    if report.unsealed:
        lines = _counted(report.unsealed, "line")
        yield f"unsealed  {lines} behind the last seal, not protected yet"
    found = sum(report.found.values())
    nothing = "nothing is verified: there is no seal"
    sound = "sound" if report.is_sound else nothing
    yield f"result    {_counted(found, 'finding') if found else sound}"


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _left_out(word: str, counts: dict[Kind, int], listed: int) -> Iterator[str]:
    if sum(counts.values()) > listed:
        each = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
        yield f"Not all are listed. {word}: {each}"


def _segments(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise WrongCall(f"{folder} is no folder.")
    try:
        return segments.segments(folder)
    except OSError as error:
        raise WrongCall(f"cannot read {error.filename}: {error.strerror}.") from error


def _anchors(text: str) -> list[Anchor]:
    """Return the anchors in an argument, or in the file that it names."""
    found = anchors_in(text) or anchors_in(read_text(Path(text)))
    if not found:
        raise WrongCall(f"{text} holds no line 'otp-audit-anchor NUMBER TIME HASH'.")
    return found


class _Progress:
    """Shows a person how much was read, on standard error."""

    def __init__(self, paths: list[Path]) -> None:
        self._all = sum(path.stat().st_size for path in paths)
        self._read = self._shown = 0
        self._is_shown = bool(sys.stderr) and sys.stderr.isatty()

    def watch(self, lines: Iterable[bytes]) -> Iterable[bytes]:
        """Give the lines, and count them if somebody looks on."""
        return self._counted(lines) if self._is_shown else lines

    def end(self) -> None:
        """Leave nothing behind."""
        if self._is_shown:
            print(end="\r\x1b[K", file=sys.stderr, flush=True)

    def _counted(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            self._read += len(line)
            if self._read >= self._shown + STEP:
                self._shown = self._read
                share = f"{self._read / max(1, self._all):.0%}"
                print(f"verified: {share}", end="\r", file=sys.stderr, flush=True)
            yield line
