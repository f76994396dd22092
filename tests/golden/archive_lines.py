"""Lines of an archive, and the texts derived from them, with fixed keys and instants."""

import shutil
from hashlib import sha256
from pathlib import Path

import msgspec

from otp_service.audit.archive_format.entries import (
    Gap,
    SequenceId,
    encode_entry,
    encode_gap,
    sequence_id_from_entry,
)
from otp_service.audit.archive_format.seals import (
    DroppedPrefix,
    NextKey,
    Seal,
    SequenceRange,
    build_anchor,
    hash_seal_line,
)
from otp_service.audit.archive_format.segments import list_segments
from otp_service.audit.query.page_cursor import FileOffset, PageCursor
from otp_service.audit.sealer.status import SealerStatus
from otp_service.audit.verification.inclusion_proof import InclusionProof, build_proof
from otp_service.core.log_entry import Entry, Stamp, StreamPosition, decode_stamp
from tests.audit.archive_builder import ArchiveBuilder, build_standard_archive, derive_signing_key
from tests.golden.fixed_inputs import NOW_MS
from tests.golden.golden_file import FOLDER
from tests.golden.stored_records import show_value


GOLDEN_ARCHIVE = FOLDER / "archive"
"""A whole archive as files: an archive that was written once must verify for ever."""

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
    client_ips=3,
    unrecorded=4,
)
STATUS = SealerStatus(
    seal=12,
    sealed_at="2026-11-24T09:30:00.123Z",
    oldest_unsealed_at=NOW_MS,
    archived=345,
    missing=6,
    failed=7,
    anchored_at=NOW_MS + 8,
    trouble="disk",
)


def format_lines(folder: Path) -> str:
    """Return one line of each kind, and each text that is derived from one; `folder` is scratch."""
    stamp = msgspec.json.encode(STAMP)
    seal = Seal(
        number=2,
        at="2026-11-24T09:30:00.123Z",
        previous="0f" * 32,
        count=3,
        root="1e" * 32,
        runs=(
            SequenceRange(partition=7, epoch=NOW_MS, first=4, last=5),
            SequenceRange(partition=8, epoch=NOW_MS + 1, first=6, last=9),
        ),
        key=derive_signing_key("first").public.id,
        fence=10,
        heads=(
            SequenceId(partition=7, epoch=NOW_MS, sequence=5),
            SequenceId(partition=8, epoch=NOW_MS + 1, sequence=9),
        ),
        next=NextKey(
            id=derive_signing_key("second").public.id,
            public=derive_signing_key("second").public.text,
        ),
        dropped=DroppedPrefix(number=1, hash="2d" * 32),
    )
    minimal_seal = Seal(number=1, at="", previous="", count=0, root="", runs=(), key="", fence=0)
    signed = derive_signing_key("first").sign_seal(seal)
    labelled_lines = [
        (
            "entry",
            encode_entry(_build_entry(b'{"type":"otp.issued","id":"1"}'), has_valid_mac=True),
        ),
        (
            "entry with a stamp",
            encode_entry(_build_entry(b'{"type":"a"}', stamp), has_valid_mac=True),
        ),
        (
            "entry with a stamp whose MAC is wrong",
            encode_entry(_build_entry(b'{"type":"a"}', stamp), has_valid_mac=False),
        ),
        ("entry that is not JSON", encode_entry(_build_entry(b"not JSON\n"), has_valid_mac=True)),
        ("name of an entry", sequence_id_from_entry(_build_entry(b"")).id.encode()),
        ("gap", encode_gap(Gap(partition=7, epoch=NOW_MS, first=43, last=50))),
        ("seal", signed),
        (
            "seal with the required members only",
            derive_signing_key("first").sign_seal(minimal_seal),
        ),
        ("hash of the seal", hash_seal_line(signed).encode()),
        ("anchor of the seal", str(build_anchor(signed)).encode()),
        ("public key", str(derive_signing_key("first").public).encode()),
        (
            "SHA-256 of the private key's PEM",
            sha256(derive_signing_key("first").to_pem()).hexdigest().encode(),
        ),
        ("stamp", stamp),
        ("stamp as it is read", show_value(decode_stamp(stamp)).encode()),
        ("status of the sealer", msgspec.json.encode(STATUS)),
        ("status of the sealer, with the defaults", msgspec.json.encode(SealerStatus())),
        ("cursor of a page", str(_build_cursor(None)).encode()),
        (
            "cursor of a page that goes on in the archive",
            str(_build_cursor(FileOffset(segment=3, offset=4096))).encode(),
        ),
        ("inclusion proof", _prove_event(folder)),
    ]
    return (
        "\n".join(f"{label}\n  {line.decode().rstrip()}" for label, line in labelled_lines) + "\n"
    )


def rewrite_archive() -> None:
    """Replace the golden archive by one that the code writes now."""
    shutil.rmtree(GOLDEN_ARCHIVE, ignore_errors=True)
    archive = build_standard_archive(GOLDEN_ARCHIVE)
    PUBLIC_KEYS.write_text("".join(f"{key}\n" for key in archive.keys), encoding="ascii")


def read_segments(folder: Path) -> dict[str, str]:
    """Return the content of each segment of an archive, by its name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode()
        for path in list_segments(folder)
    }


def write_archive(folder: Path) -> ArchiveBuilder:
    """Write the archive that is compared with the golden one."""
    return build_standard_archive(folder)


def find_event(folder: Path) -> str:
    """Return the id of an event in the first segment."""
    line = list_segments(folder)[0].read_bytes().splitlines()[1]
    event_id: str = msgspec.json.decode(line)["id"]
    return event_id


def _build_entry(event: bytes, stamp: bytes = b"") -> Entry:
    return Entry(
        partition=7,
        position=StreamPosition(at=NOW_MS, sequence=42),
        epoch=NOW_MS - 1000,
        event=event,
        mac="state-1:9f",
        stamp=stamp,
    )


def _build_cursor(offset: FileOffset | None) -> PageCursor:
    return PageCursor(
        positions={
            7: StreamPosition(at=NOW_MS, sequence=42),
            8: StreamPosition(at=NOW_MS + 1, sequence=43),
        },
        archive_offset=offset,
    )


def _prove_event(folder: Path) -> bytes:
    build_standard_archive(folder)
    proof = build_proof(list_segments(folder)[0].read_bytes().splitlines(), find_event(folder))
    assert isinstance(proof, InclusionProof)
    return msgspec.json.encode(proof)
