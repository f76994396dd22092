"""Lines of an archive, and what is made from them, with fixed keys and instants."""

import shutil
from hashlib import sha256
from pathlib import Path

import msgspec

from otp_service.audit.archive_format.entries import Gap, gap_line, line_of, place_of
from otp_service.audit.archive_format.seals import (
    Dropped,
    Head,
    NextKey,
    Run,
    Seal,
    anchor_of,
    hash_of,
)
from otp_service.audit.archive_format.segments import lines, segments
from otp_service.audit.query.page_cursor import Cursor, Spot
from otp_service.audit.sealer.ports import Told
from otp_service.audit.verification.inclusion_proof import Proof, prove
from otp_service.core.log_entry import Entry, Position, Stamp, stamped
from tests.audit.archive_builder import Archive, signing_key, standard
from tests.golden.fixed_inputs import NOW_MS
from tests.golden.golden_file import FOLDER
from tests.golden.stored_records import show_value


ARCHIVE = FOLDER / "archive"
"""A whole archive, kept as files: what was written once has to verify for ever."""

PUBLIC_KEYS = FOLDER / "archive.pub"

STAMP = Stamp(
    reason="rate_limited",
    limit="SendsPerNumber",
    quota=5,
    period=600,
    wait=200_000,
    folded=12,
    first=NOW_MS - 2,
    last=NOW_MS - 1,
    addresses=3,
    unrecorded=4,
)
STATUS = Told(
    seal=12,
    sealed_at="2026-11-24T09:30:00.123Z",
    unsealed=NOW_MS,
    archived=345,
    missing=6,
    failed=7,
    anchored_at=NOW_MS + 8,
    trouble="disk",
)


def format_lines(folder: Path) -> str:
    """Return one line of each kind, and each text that is made from one; `folder` is scratch."""
    stamp = msgspec.json.encode(STAMP)
    seal = Seal(
        number=2,
        at="2026-11-24T09:30:00.123Z",
        previous="0f" * 32,
        count=3,
        root="1e" * 32,
        runs=(
            Run(partition=7, epoch=NOW_MS, first=4, last=5),
            Run(partition=8, epoch=NOW_MS + 1, first=6, last=9),
        ),
        key=signing_key("first").public.id,
        fence=10,
        heads=(
            Head(partition=7, epoch=NOW_MS, sequence=5),
            Head(partition=8, epoch=NOW_MS + 1, sequence=9),
        ),
        next=NextKey(id=signing_key("second").public.id, public=signing_key("second").public.text),
        dropped=Dropped(number=1, hash="2d" * 32),
    )
    least = Seal(number=1, at="", previous="", count=0, root="", runs=(), key="", fence=0)
    signed = signing_key("first").line(seal)
    listed = [
        ("entry", line_of(_build_entry(b'{"type":"otp.issued","id":"1"}'), is_ours=True)),
        ("entry with a stamp", line_of(_build_entry(b'{"type":"a"}', stamp), is_ours=True)),
        (
            "entry with a stamp whose MAC is wrong",
            line_of(_build_entry(b'{"type":"a"}', stamp), is_ours=False),
        ),
        ("entry that is not JSON", line_of(_build_entry(b"not JSON\n"), is_ours=True)),
        ("name of an entry", place_of(_build_entry(b"")).id.encode()),
        ("gap", gap_line(Gap(partition=7, epoch=NOW_MS, first=43, last=50))),
        ("seal", signed),
        ("seal with the required members only", signing_key("first").line(least)),
        ("hash of the seal", hash_of(signed).encode()),
        ("anchor of the seal", str(anchor_of(signed)).encode()),
        ("public key", str(signing_key("first").public).encode()),
        (
            "SHA-256 of the private key's PEM",
            sha256(signing_key("first").to_pem()).hexdigest().encode(),
        ),
        ("stamp", stamp),
        ("stamp as it is read", show_value(stamped(stamp)).encode()),
        ("status of the sealer", msgspec.json.encode(STATUS)),
        ("status of the sealer, with the defaults", msgspec.json.encode(Told())),
        ("cursor of a page", str(_build_cursor(None)).encode()),
        (
            "cursor of a page that goes on in the archive",
            str(_build_cursor(Spot(segment=3, offset=4096))).encode(),
        ),
        ("inclusion proof", _prove_event(folder)),
    ]
    return "\n".join(f"{label}\n  {line.decode().rstrip()}" for label, line in listed) + "\n"


def rewrite_archive() -> None:
    """Replace the golden archive by one that the code writes now."""
    shutil.rmtree(ARCHIVE, ignore_errors=True)
    archive = standard(ARCHIVE)
    PUBLIC_KEYS.write_text("".join(f"{key}\n" for key in archive.keys), encoding="ascii")


def read_segments(folder: Path) -> dict[str, str]:
    """Return the content of each segment of an archive, by its name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in segments(folder)
    }


def write_archive(folder: Path) -> Archive:
    """Write the archive that the golden one is compared with."""
    return standard(folder)


def find_event(folder: Path) -> str:
    """Return the id of an event in the first segment."""
    line = list(lines(segments(folder)[0]))[1]
    event_id: str = msgspec.json.decode(line)["id"]
    return event_id


def _build_entry(event: bytes, stamp: bytes = b"") -> Entry:
    return Entry(
        partition=7,
        position=Position(at=NOW_MS, sequence=42),
        epoch=NOW_MS - 1000,
        event=event,
        mac="state-1:9f",
        stamp=stamp,
    )


def _build_cursor(spot: Spot | None) -> Cursor:
    return Cursor(
        positions={7: Position(at=NOW_MS, sequence=42), 8: Position(at=NOW_MS + 1, sequence=43)},
        spot=spot,
    )


def _prove_event(folder: Path) -> bytes:
    standard(folder)
    proof = prove(lines(segments(folder)[0]), find_event(folder))
    assert isinstance(proof, Proof)
    return msgspec.json.encode(proof)
